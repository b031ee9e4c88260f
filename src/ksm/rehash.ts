/**
 * rehash - a second, independent hash for contents that share their first with many others.
 *
 * A list of the index that has grown to LIST_MAX contents is closed: whoever finds no equal in it goes on to
 * a list under this hash instead. So a page is looked at against LIST_MAX contents, then hashed again, and
 * so on; only bytes that defeat both hashes make a list longer. A list once closed stays closed, even when
 * its contents leave: equal pages must take the same way.
 *
 * In plain TypeScript, because it runs only where 64 bits of hash were not enough.
 */
import { racyLoad } from "../base/atomics.js";
import { ptePfn } from "../base/layout.js";
import { blockOf, frameByte, type Memory } from "../base/memory.js";
import { PAGE_WORDS, type Pfn, type Slot } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { readPte } from "../mm/pte.js";
import { closeList, findContent, listIsClosed, NO_CONTENT, nextContent } from "./content-index.js";
import { hashHigh, hashLow, setHash } from "./item.js";
import { CHANGED, holdQuietPage, MERGED, type MergeOutcome } from "./merge.js";
import type { Shard } from "./shard.js";

/** Contents of one list before it is closed. */
export const LIST_MAX = 16;
/** Lists that a page goes through at most; in the last one no limit holds. */
const LEVELS_MAX = 4;

/** Two halves of a hash. */
interface Halves {
  [half: number]: number;
}

/** Gives the page the hash under which it goes on: MERGED, or CHANGED or BUSY and the hash stays. */
export function rehashPage(memory: Memory, slot: Slot): MergeOutcome {
  const pte = readPte(memory, slot);
  const held = holdQuietPage(memory, slot, pte);
  if (held !== MERGED) return held;
  const key = [hashLow(memory, slot), hashHigh(memory, slot)];
  rehashFrame(memory, ptePfn(pte), key);
  const unchanged = readPte(memory, slot) === pte;
  putPage(memory, ptePfn(pte));
  if (!unchanged) return CHANGED;
  setHash(memory, slot, key[0] as number, key[1] as number);
  return MERGED;
}

/** From the hash of one list, low and high half in `key`, to that of the next. The caller holds the frame. */
export function rehashFrame(memory: Memory, pfn: Pfn, key: Halves): void {
  const { words } = blockOf(memory, pfn);
  const first = frameByte(memory, pfn) >>> 2;
  let low = (key[0] as number) ^ 0x2545f491;
  let high = (key[1] as number) ^ 0x1b873593;
  for (let word = 0; word < PAGE_WORDS; word++) {
    // RACY: the guest may be writing; rehashPage reads the pte again, and then the hash does not count.
    const value = racyLoad(words, first + word);
    low = Math.imul(low ^ value, 0x9e3779b1);
    low ^= low >>> 15;
    high = Math.imul((high << 13) | (high >>> 19), 5) + (value ^ low);
  }
  key[0] = low | 0;
  key[1] = Math.imul(high, 0x85ebca6b) | 0;
}

/**
 * Does the way of a content that was not found end in this list, the `level`th of its way? Else the list is closed,
 * now if it was not before, and the way goes on.
 */
export function endsHere(shard: Shard, level: number, low: number, high: number): boolean {
  const { index } = shard;
  if (level === LEVELS_MAX) return true;
  if (!listIsClosed(index, low, high) && listLength(shard, low, high) < LIST_MAX) return true;
  closeList(index, low, high);
  return false;
}

function listLength(shard: Shard, low: number, high: number): number {
  const { memory, index } = shard;
  let length = 0;
  let content = findContent(index, low, high);
  for (; content !== NO_CONTENT; content = nextContent(memory, content)) length++;
  return length;
}
