/**
 * page-mapping - who owns a frame: nobody, a guest family, or a stable node.
 *
 * OWNS    page.mapping, page.index
 *
 *        NOBODY -----> ANON(family) -----> KSM(stable node, generation)
 *          ^   alloc        |       linked          |
 *          |                |                       |
 *          +---- freed -----+-----------------------+
 *
 * The mapping word is the back-link of the keyhole protocol: a stable node names a frame without
 * holding it, and this word says whether the frame still is that node's (mm/keyhole.ts).
 *
 * INVARIANTS
 *   MAP-1  a frame on the free bitmap has mapping NOBODY.
 *   MAP-2  KSM(n, g) => stable node n of generation g is linked and names the frame (O8).
 *   MAP-3  the word of a KSM frame changes only under its page lock, or by whoever frees it.
 *   MAP-4  the index of an anonymous frame is the gfn at which the family maps it.
 * ORDER   mapping.set -> mapping.read; mapping.clear -> mapping.read
 * MODEL   test/model/keyhole.test.ts
 * LINUX   page->mapping with PAGE_MAPPING_ANON / PAGE_MAPPING_KSM, page->index.
 */
import { loadWord, plainLoad, plainStore, storeWord } from "../base/atomics.js";
import { anonMapping, MAPPING_NOBODY, RECORD_MAPPING } from "../base/layout.js";
import { blockOf, coldWord, type Memory, recordWord } from "../base/memory.js";
import type { Gfn, GuestId, Pfn } from "../base/units.js";

export function readMapping(memory: Memory, pfn: Pfn): number {
  // ORDER mapping.read <- mapping.set, mapping.clear, mapping.own
  return loadWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_MAPPING);
}

/** Gives a frame that nobody can reach yet to a guest family; it will be mapped at `gfn`. */
export function ownFrame(memory: Memory, pfn: Pfn, family: GuestId, gfn: Gfn): void {
  const { words } = blockOf(memory, pfn);
  plainStore(words, coldWord(memory, pfn), gfn);
  // ORDER mapping.own -> mapping.read: before the frame is published (ref.publish); else a look-up of its
  // former node finds the old key on a frame of another.
  storeWord(words, recordWord(memory, pfn) + RECORD_MAPPING, anonMapping(family));
}

/** Makes the frame a stable node's. The caller holds the page lock and has linked the node (O8). */
export function setKsmMapping(memory: Memory, pfn: Pfn, key: number): void {
  // ORDER mapping.set -> mapping.read: the node is linked first; else the key names a node that an
  // error path frees (H16).
  storeWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_MAPPING, key);
}

/** Nobody's any more: by whoever frees the frame, before it can be taken again, or moves its node away. */
export function clearMapping(memory: Memory, pfn: Pfn): void {
  // ORDER mapping.clear -> mapping.read: before the frame is on the free bitmap; else a look-up trusts
  // the contents of a reused frame (O3).
  storeWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_MAPPING, MAPPING_NOBODY);
}

/** Gfn at which its family maps an anonymous frame. */
export function frameIndex(memory: Memory, pfn: Pfn): Gfn {
  return plainLoad(blockOf(memory, pfn).words, coldWord(memory, pfn));
}
