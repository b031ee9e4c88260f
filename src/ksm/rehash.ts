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
import { PAGE_WORDS, type Slot } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { readPte } from "../mm/pte.js";
import { hashHigh, hashLow, setHash } from "./item.js";
import { CHANGED, holdQuietPage, MERGED, type MergeOutcome } from "./merge.js";

/** Contents of one list before it is closed. */
export const LIST_MAX = 16;
/** Lists that a page goes through at most; in the last one no limit holds. */
export const LEVELS_MAX = 4;

/** Gives the page the hash under which it goes on: MERGED, or CHANGED or BUSY and the hash stays. */
export function rehashPage(memory: Memory, slot: Slot): MergeOutcome {
  const pte = readPte(memory, slot);
  const held = holdQuietPage(memory, slot, pte);
  if (held !== MERGED) return held;
  const { words } = blockOf(memory, ptePfn(pte));
  const first = frameByte(memory, ptePfn(pte)) >>> 2;
  let low = hashLow(memory, slot) ^ 0x2545f491;
  let high = hashHigh(memory, slot) ^ 0x1b873593;
  for (let word = 0; word < PAGE_WORDS; word++) {
    // RACY: the guest may be writing; the pte is read again below, and then the hash does not count.
    const value = racyLoad(words, first + word);
    low = Math.imul(low ^ value, 0x9e3779b1);
    low ^= low >>> 15;
    high = Math.imul((high << 13) | (high >>> 19), 5) + (value ^ low);
  }
  const unchanged = readPte(memory, slot) === pte;
  putPage(memory, ptePfn(pte));
  if (!unchanged) return CHANGED;
  setHash(memory, slot, low | 0, Math.imul(high, 0x85ebca6b) | 0);
  return MERGED;
}
