/**
 * keyhole - finding the frame of a stable node that does not hold it.
 *
 * OWNS    stable.kpfn
 *
 * A stable node names its frame without a reference, so the frame can be freed by its last guest, or moved
 * by a migrator, at any moment. Whoever follows the name looks through a keyhole: it takes a reference and
 * checks, before and after, that the frame's mapping word is the node's key.
 *
 *      look-up                                       migrator (both frames locked, old one frozen)
 *      kpfn = node.kpfn                              new.mapping = key
 *      frame.mapping == key?                         node.kpfn = new, count + 1
 *      get a reference (spin while FROZEN)           old.mapping = nobody
 *      frame.mapping == key?                         old.ref = 0
 *      on any "no": node.kpfn again; changed: start over; unchanged: the node is stale
 *
 * kpfn carries a migration count and is compared whole: with a bare pfn a frame that moves A -> B -> A
 * between the two reads makes the look-up drop a live node. The kernel's lock-and-unlock after a match is
 * needed where a migrator only checks the count; here it freezes, which excludes our reference (H10).
 *
 * INVARIANTS
 *   KEY-1  a frame was returned => the caller holds a reference, and the frame is the node's until it is put,
 *          except that a migrator, which could not freeze it, may try again later.
 *   KEY-2  KEYHOLE_STALE => the node's frame was freed; it will never be the node's again.
 * ORDER   kpfn.flip -> kpfn.read; mapping.set, mapping.clear -> mapping.read (O1..O4)
 * MODEL   test/model/keyhole.test.ts
 * LINUX   ksm_get_folio, folio_migrate_ksm.
 */
import { loadWord, storeWord } from "../base/atomics.js";
import { kpfnPfn, makeKpfn, STABLE_KPFN, STABLE_WORDS } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Pfn, StableId, WordIndex } from "../base/units.js";
import { putPage } from "./frames.js";
import { clearMapping, readMapping, setKsmMapping } from "./page-mapping.js";
import { REF_FROZEN, REF_HELD, tryGetPage } from "./page-ref.js";

export const KEYHOLE_STALE = -1;
export const KEYHOLE_BUSY = -2;

/** How often a look-up tries a frozen frame before it says busy (a migrator copies a batch: 0.3 us a page). */
const FROZEN_TRIES = 256;

export function stableWord(memory: Memory, stable: StableId): WordIndex {
  return memory.layout.stable + stable * STABLE_WORDS;
}

/** The whole word: the same at two moments => it named the same frame in between, without a break. */
export function readKpfn(memory: Memory, stable: StableId): number {
  // ORDER kpfn.read <- kpfn.flip, kpfn.name
  return loadWord(memory.control, stableWord(memory, stable) + STABLE_KPFN);
}

/** Names the frame of a node that is being made. */
export function nameFrame(memory: Memory, stable: StableId, pfn: Pfn): void {
  // ORDER kpfn.name -> kpfn.read: before the frame's key is set; else a follower of the key finds an old frame.
  storeWord(memory.control, stableWord(memory, stable) + STABLE_KPFN, makeKpfn(pfn, 0));
}

/** The frame that the node names at this moment; it may no longer be the node's. */
export function namedFrame(memory: Memory, stable: StableId): Pfn {
  return kpfnPfn(readKpfn(memory, stable));
}

/**
 * Takes a reference on the node's frame. Returns the frame; or KEYHOLE_STALE: it was freed, drop the node;
 * or KEYHOLE_BUSY: it stays frozen, try later.
 */
export function getStableFrame(memory: Memory, stable: StableId, key: number): Pfn {
  let tries = FROZEN_TRIES;
  for (;;) {
    const kpfn = readKpfn(memory, stable);
    const pfn = kpfnPfn(kpfn);
    if (readMapping(memory, pfn) === key) {
      const got = tryGetPage(memory, pfn);
      if (got === REF_FROZEN) {
        if (--tries === 0) return KEYHOLE_BUSY;
        continue;
      }
      if (got === REF_HELD) {
        // Freed and reused between the first check and the reference, it is not ours (H2).
        if (readMapping(memory, pfn) === key) return pfn;
        putPage(memory, pfn);
      }
    }
    // Gone, or only moved: the migrator flips kpfn before it clears the old key (H3).
    if (readKpfn(memory, stable) === kpfn) return KEYHOLE_STALE;
  }
}

/**
 * Moves a node's frame: `target` is filled, ours alone and locked; `old` is frozen and locked. In this
 * order, or a look-up in between takes a live node for stale (H4, H5). The caller then ends the freeze.
 */
export function moveStableFrame(
  memory: Memory,
  stable: StableId,
  key: number,
  old: Pfn,
  target: Pfn,
): void {
  const migrations = readKpfn(memory, stable) + 1;
  setKsmMapping(memory, target, key);
  // ORDER kpfn.flip -> kpfn.read: after the new frame has the key, before the old one loses it (O1).
  storeWord(memory.control, stableWord(memory, stable) + STABLE_KPFN, makeKpfn(target, migrations));
  clearMapping(memory, old);
}
