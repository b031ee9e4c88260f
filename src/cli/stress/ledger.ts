/**
 * ledger - what each page of a guest holds, as its owner says; shared by the guest's vCPUs, in memory that the engine
 * knows nothing of.
 *
 * OWNS    the words of a ledger: four for a page
 *
 *   turn    odd while the owner writes the page, and these words
 *   head, tail, cut   words [0, cut) of the page hold content head, the others content tail
 *
 * A reader looks at the turn, the words, the page, and the turn again: if that is the same even number, nobody wrote
 * meanwhile, and the page held exactly what the words say.
 *
 * INVARIANTS
 *   LEDGER-1  turn even => the page holds what the words say.
 * ORDER   ledger.begin -> ledger.again; ledger.end -> ledger.look
 */
import { addWord, loadWord, plainLoad, plainStore, racyLoad } from "../../base/atomics.js";
import { createSharedWords } from "../../base/memory.js";
import { PAGE_WORDS } from "../../base/units.js";

const WORDS = 4;
const TURN = 0;
const HEAD = 1;
const TAIL = 2;
const CUT = 3;

/** What a page holds: words [0, cut) content head, the others content tail. */
export interface Holding {
  readonly head: number;
  readonly tail: number;
  readonly cut: number;
}

export class Ledger {
  readonly #words: Int32Array;

  /** `words`: those of another thread's ledger. */
  constructor(words: Int32Array) {
    this.#words = words;
  }

  /** The words of a ledger for so many pages of zeros; to be given to all vCPUs of the guest. */
  static create(pages: number): Int32Array {
    const words = createSharedWords(pages * WORDS);
    for (let gfn = 0; gfn < pages; gfn++) plainStore(words, gfn * WORDS + CUT, PAGE_WORDS);
    return words;
  }

  /** The owner is about to write the page. */
  begin(gfn: number): void {
    // ORDER ledger.begin -> ledger.again: before the first byte; else a reader takes half of it for the whole.
    addWord(this.#words, gfn * WORDS + TURN, 1);
  }

  /** The owner has written the page: it holds this now. */
  end(gfn: number, { head, tail, cut }: Holding): void {
    const at = gfn * WORDS;
    plainStore(this.#words, at + HEAD, head);
    plainStore(this.#words, at + TAIL, tail);
    plainStore(this.#words, at + CUT, cut);
    // ORDER ledger.end -> ledger.look: after the last byte, and the words; else a reader expects what is not there yet.
    addWord(this.#words, at + TURN, 1);
  }

  /** What the owner's own page holds. */
  own(gfn: number): Holding {
    const at = gfn * WORDS;
    return {
      head: plainLoad(this.#words, at + HEAD),
      tail: plainLoad(this.#words, at + TAIL),
      cut: plainLoad(this.#words, at + CUT),
    };
  }

  /** Before another's page is read: the turn. */
  look(gfn: number): number {
    // ORDER ledger.look <- ledger.end
    return loadWord(this.#words, gfn * WORDS + TURN);
  }

  /** After it has been read: what it held all the while since `turn`; null: it was being written. */
  again(gfn: number, turn: number): Holding | null {
    const at = gfn * WORDS;
    // RACY: words that the owner changes meanwhile are thrown away, as the turn is another then.
    const head = racyLoad(this.#words, at + HEAD);
    const tail = racyLoad(this.#words, at + TAIL);
    const cut = racyLoad(this.#words, at + CUT);
    // ORDER ledger.again <- ledger.begin: adds nothing, but is no earlier than what was read before it.
    const now = addWord(this.#words, at + TURN, 0);
    return now === turn && (turn & 1) === 0 ? { head, tail, cut } : null;
  }
}
