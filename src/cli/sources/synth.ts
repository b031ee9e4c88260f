/**
 * synth - memory made from numbers: `synth:pages=65536,dup=0.5,alike=16,zero=0.1,seed=1,guests=2`.
 *
 * Of `pages` pages, round(zero * pages) are zero; round(dup * pages) lie in groups of `alike` equal pages,
 * the last group smaller if alike does not divide them; the rest are unique. Halves are rounded up, and
 * where both were, the dup pages give way. The order is shuffled by seed. Keys left out have the values
 * above. Each of the `guests` has the same pages in the same order, so with two of them there is no page
 * left that is unique.
 *
 * A page that is not zero holds the number of its content in its first word and the seed in its second:
 * contents differ for certain, and so do those of different seeds. The other words are noise.
 */
import { PAGE_SIZE, PAGE_WORDS } from "../../base/units.js";
import { BadInput } from "../bad-input.js";
import { mix, nextRandom } from "../random.js";
import type { SynthData } from "./source.js";

export const SYNTH_PREFIX = "synth:";

interface Key {
  readonly fallback: number;
  readonly min: number;
  readonly max: number;
  readonly fraction?: true;
}

const KEYS: Readonly<Record<string, Key>> = {
  pages: { fallback: 65536, min: 1, max: 2 ** 24 - 1 },
  dup: { fallback: 0.5, min: 0, max: 1, fraction: true },
  alike: { fallback: 16, min: 1, max: 2 ** 24 - 1 },
  zero: { fallback: 0.1, min: 0, max: 1, fraction: true },
  seed: { fallback: 1, min: 0, max: 2 ** 32 - 1 },
  guests: { fallback: 2, min: 1, max: 1024 },
};

/** A spec, read: the same data for each of `guests` guests. */
export function parseSynth(spec: string): { readonly data: SynthData; readonly guests: number } {
  const values = new Map<string, number>();
  for (const pair of spec.slice(SYNTH_PREFIX.length).split(",")) {
    if (pair === "") continue;
    const [name, ...rest] = pair.split("=");
    const text = rest.join("=");
    const key = Object.hasOwn(KEYS, name) ? KEYS[name] : undefined;
    if (key === undefined) {
      const keys = Object.keys(KEYS).join(", ");
      throw new BadInput(spec, `there is no key ${name}`, `the keys are ${keys}`);
    }
    if (values.has(name)) throw new BadInput(spec, `${name} is given twice`, "give it once");
    values.set(name, parseValue(spec, name, text, key));
  }
  const value = (name: string): number => values.get(name) ?? KEYS[name].fallback;
  // A sum of two fractions may miss 1 by the last bit.
  if (value("zero") + value("dup") > 1 + 1e-9) {
    const sum = `zero and dup are ${value("zero")} and ${value("dup")}, more than 1 together`;
    throw new BadInput(spec, sum, "make one of them smaller");
  }
  const pages = value("pages");
  const zeroPages = Math.round(value("zero") * pages);
  const dupPages = Math.min(Math.round(value("dup") * pages), pages - zeroPages);
  const [alike, seed] = [value("alike"), value("seed")];
  return {
    data: { kind: "synth", pages, zeroPages, dupPages, alike, seed },
    guests: value("guests"),
  };
}

function parseValue(spec: string, name: string, text: string, key: Key): number {
  const shape = key.fraction ? /^(\d+(\.\d*)?|\.\d+)$/ : /^\d+$/;
  const value = Number(text);
  if (shape.test(text) && value >= key.min && value <= key.max) return value;
  const kind = key.fraction ? "a number" : "an integer";
  throw new BadInput(
    spec,
    `${name} is ${JSON.stringify(text)}`,
    `it takes ${kind} from ${key.min} to ${key.max}`,
  );
}

/** Fills pages of memory that belongs to this thread alone, one after the other. */
export class SynthPages {
  readonly #data: SynthData;
  readonly #order: Uint32Array;

  constructor(data: SynthData) {
    this.#data = data;
    this.#order = shuffled(data.pages, data.seed);
  }

  /** Fills `words` with the pages from number `first` on. */
  fill(words: Int32Array, first: number): void {
    const { seed } = this.#data;
    for (let at = 0; at < words.length; at += PAGE_WORDS) {
      const content = this.#content(this.#order[first + at / PAGE_WORDS]);
      if (content === 0) words.fill(0, at, at + PAGE_WORDS);
      else fillPage(words, at, seed, content);
    }
  }

  /** Which content a page has before they are shuffled: 0 is the zero page. */
  #content(page: number): number {
    const { zeroPages, dupPages, alike } = this.#data;
    const afterZero = page - zeroPages;
    if (afterZero < 0) return 0;
    if (afterZero < dupPages) return 1 + Math.floor(afterZero / alike);
    return 1 + Math.ceil(dupPages / alike) + afterZero - dupPages;
  }
}

/** Words of a chunk of bytes that SynthPages may fill. */
export function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, (bytes.length / PAGE_SIZE) * PAGE_WORDS);
}

function fillPage(words: Int32Array, at: number, seed: number, content: number): void {
  let state = mix(seed, content);
  for (let i = at + 2; i < at + PAGE_WORDS; i++) {
    state = nextRandom(state);
    words[i] = state;
  }
  words[at] = content;
  words[at + 1] = seed;
}

/** The numbers below `length` in an order that depends on the seed (Fisher and Yates). */
function shuffled(length: number, seed: number): Uint32Array {
  const order = new Uint32Array(length);
  let state = mix(seed, 0);
  for (let i = 0; i < length; i++) {
    state = nextRandom(state);
    const other = Math.floor(((state >>> 0) / 2 ** 32) * (i + 1));
    order[i] = order[other];
    order[other] = i;
  }
  return order;
}
