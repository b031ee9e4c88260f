/**
 * page-ref - who holds a frame, and how many ptes map it.
 *
 * OWNS    page.ref, page.mapcount
 *
 *   ref          FROZEN (-1)            0               1, 2, 3 ...
 *         ---------+--------------------+------------------------------>
 *          a migrator has every       free: on the    holders
 *          reference, nobody gets     free bitmap, or
 *          one                        in an allocator's hand
 *
 * Holders: one per pte that maps the frame, one per pin, one per transient holder (a fault, ksmd, a
 * look-up), one per limbo entry. A stable node holds none (mm/keyhole.ts).
 *
 * INVARIANTS
 *   REF-1  ref > 0 <=> somebody holds the frame; it is not on the free bitmap.
 *   REF-2  whoever takes ref from 1 to 0 frees the frame, and nobody else does.
 *   REF-3  FROZEN => the freezer held every reference and holds the page lock.
 *   REF-4  mapcount <= ref at any quiet moment; mapcount is raised before the pte is installed.
 * ORDER   ref.get <-> ref.drop, ref.freeze; ref.publish -> ref.get; ref.thaw -> ref.get
 * MODEL   test/model/page-ref.test.ts
 * LINUX   page_ref.h; get_page_unless_zero, put_page, page_ref_freeze, page_ref_unfreeze.
 */
import { assert } from "../base/assert.js";
import { addWord, casWord, loadWord, plainStore, storeWord } from "../base/atomics.js";
import { RECORD_MAPCOUNT, RECORD_REF } from "../base/layout.js";
import { blockOf, type Memory, recordWord } from "../base/memory.js";
import type { Pfn } from "../base/units.js";

export const FROZEN = -1;

/** What tryGetPage found. */
export const REF_HELD = 1;
export const REF_GONE = 0;
export const REF_FROZEN = -1;
export type RefOutcome = typeof REF_HELD | typeof REF_GONE | typeof REF_FROZEN;

/**
 * Takes a reference unless the frame is free or frozen. The frame may have been freed and reused since
 * the caller learned its number: the caller checks again whatever told it (pte, mapping word).
 */
export function tryGetPage(memory: Memory, pfn: Pfn): RefOutcome {
  const { words } = blockOf(memory, pfn);
  const index = recordWord(memory, pfn) + RECORD_REF;
  for (;;) {
    // ORDER ref.get <-> ref.drop, ref.freeze, ref.publish, ref.thaw, ref.count: raises only a positive
    // count, in one step; else a frame that is being freed or moved gets a holder nobody counts.
    const ref = loadWord(words, index);
    if (ref === FROZEN) return REF_FROZEN;
    if (ref <= 0) return REF_GONE;
    if (casWord(words, index, ref, ref + 1) === ref) return REF_HELD;
  }
}

/** Takes one more reference on a frame of which the caller already holds one. */
export function getPage(memory: Memory, pfn: Pfn): void {
  const { words } = blockOf(memory, pfn);
  // ORDER ref.more <-> ref.drop: counted before the new holder can use it; else the frame may be freed under it.
  const before = addWord(words, recordWord(memory, pfn) + RECORD_REF, 1);
  assert(before > 0, "REF-1", "reference taken without holding one: frame, ref", pfn, before);
}

/** Drops a reference. True: it was the last, and the caller must free the frame (mm/frames.ts). */
export function dropPage(memory: Memory, pfn: Pfn): boolean {
  const { words } = blockOf(memory, pfn);
  // ORDER ref.drop <-> ref.get, ref.more, ref.count: our accesses to the frame come
  // first; else it is reused under them.
  const before = addWord(words, recordWord(memory, pfn) + RECORD_REF, -1);
  assert(before > 0, "REF-1", "put without a reference: frame, ref", pfn, before);
  return before === 1;
}

/** Holders at this moment. Exact only for a caller that has excluded the others (mm/pte.ts, D reservation). */
export function pageRef(memory: Memory, pfn: Pfn): number {
  // ORDER ref.count <- ref.get, ref.drop
  return loadWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_REF);
}

/** Gives a frame just taken off the free bitmap its first holder. */
export function publishPage(memory: Memory, pfn: Pfn): void {
  const { words } = blockOf(memory, pfn);
  const record = recordWord(memory, pfn);
  assert(pageRef(memory, pfn) === 0, "REF-1", "free frame has holders: frame", pfn);
  plainStore(words, record + RECORD_MAPCOUNT, 0);
  // ORDER ref.publish -> ref.get: mapping and index first; else a late look-up of the frame's former
  // owner gets a reference and still sees the former owner.
  storeWord(words, record + RECORD_REF, 1);
}

/**
 * Takes the frame away from everybody: ref from exactly `expected` to FROZEN. False: somebody else holds
 * it (a pin, a look-up). The caller holds the page lock and has taken every mapping away.
 */
export function freezePage(memory: Memory, pfn: Pfn, expected: number): boolean {
  const { words } = blockOf(memory, pfn);
  const index = recordWord(memory, pfn) + RECORD_REF;
  // ORDER ref.freeze <-> ref.get: the exact count, in one step; else a pin taken between the test and
  // the copy writes to the old frame (H44).
  return casWord(words, index, expected, FROZEN) === expected;
}

/** Ends a freeze: the frame has `holders` from now on (0: the caller frees it). */
export function unfreezePage(memory: Memory, pfn: Pfn, holders: number): void {
  const { words } = blockOf(memory, pfn);
  // ORDER ref.thaw -> ref.get: mapping words and kpfn first; else a look-up that waited sees the old ones.
  storeWord(words, recordWord(memory, pfn) + RECORD_REF, holders);
}

/** Counts one more pte that maps the frame; the caller holds a reference for it. */
export function addMapping(memory: Memory, pfn: Pfn): void {
  // ORDER mapcount.add -> mapcount.read: before the pte is installed, so that it never reads low.
  addWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_MAPCOUNT, 1);
}

/** Counts one pte less; the caller still holds the reference that went with it. */
export function dropMapping(memory: Memory, pfn: Pfn): void {
  const { words } = blockOf(memory, pfn);
  // ORDER mapcount.drop -> mapcount.read: after the pte is gone, so that it never reads low.
  const before = addWord(words, recordWord(memory, pfn) + RECORD_MAPCOUNT, -1);
  assert(before > 0, "REF-4", "unmapped without a mapping: frame, mapcount", pfn, before);
}

/** Ptes that map the frame; may read high for an instant, never low. */
export function mapcount(memory: Memory, pfn: Pfn): number {
  // ORDER mapcount.read <- mapcount.add, mapcount.drop
  return loadWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_MAPCOUNT);
}
