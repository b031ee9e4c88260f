/**
 * harvest - learning which pages of a guest were written since the last time.
 *
 * OWNS    the hot and visit bitmaps
 *
 *   take the guest's limbo list
 *   each mergeable pte with D: clear D, mark the page hot and pending
 *   each page that was moved to another node: mark it pending (merge_across_nodes 0)
 *   one shootdown for the guest (none if nothing was cleared and limbo was empty)
 *       complete   -> from here on D clear means: no writable translation (PTE-1); limbo is freed
 *       given up   -> D goes back where it was cleared, limbo too; the guest is left out of this pass
 *
 * Only the harvest clears D, and never while a merge of the guest is in flight (one thread does both; with
 * several shards a barrier lies between). A page is quiet if its D was clear at this harvest.
 *
 * INVARIANTS
 *   HARVEST-1  D clear and not hot, after harvestGuest returned true => nobody has written the page since
 *              its D was last cleared, nor can without setting D.
 *   HARVEST-2  given up => no pte has lost D.
 * ORDER   pte.cas, then seq.bump; moved.take
 * MODEL   test/model/harvest.test.ts
 * LINUX   nothing alike: ksmd hashes every page in every pass (its smart scan guesses which to skip).
 */
import { plainLoad, plainStore } from "../base/atomics.js";
import {
  PTE_DIRTY,
  PTE_NONE,
  SHARD_SKIPPED_GUESTS,
  SHARD_STUCK_VCPU,
  SHOOTDOWN_ALL,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type GuestId, NONE, type Slot } from "../base/units.js";
import { guestBase, guestPages } from "../mm/guest.js";
import { releaseLimbo, returnLimbo, takeLimbo } from "../mm/limbo.js";
import { takeMoved } from "../mm/moved.js";
import { casPte, pteIsEntry, readPte, waitForEntry } from "../mm/pte.js";
import { awaitShootdown, beginShootdown, guestOfVcpu } from "../mm/shootdown.js";
import { knobMergeAcrossNodes } from "./knobs.js";
import { addShardWord, type Shard, setShardWord, shardWord } from "./shard.js";

/** Harvests the guest; false: a vCPU did not answer, the guest is left out of this pass. */
export function harvestGuest(shard: Shard, guest: GuestId): boolean {
  const { memory } = shard;
  const limbo = takeLimbo(memory, guest);
  const cleared = clearDirty(memory, guest);
  if (cleared === 0 && limbo === NONE) return true;
  const seq = beginShootdown(memory, guest, SHOOTDOWN_ALL);
  const stuck = awaitShootdown(memory, guest, SHOOTDOWN_ALL, seq, memory.patience.scanMs);
  if (stuck === NONE) {
    releaseLimbo(memory, limbo);
    forgetStuck(shard, guest);
    return true;
  }
  returnLimbo(memory, guest, limbo);
  restoreDirty(memory, guest);
  addShardWord(shard, SHARD_SKIPPED_GUESTS, 1);
  setShardWord(shard, SHARD_STUCK_VCPU, stuck + 1);
  return false;
}

/** The guest answered: if a vCPU of it was named as stuck, it is no longer. */
function forgetStuck(shard: Shard, guest: GuestId): void {
  const vcpu = shardWord(shard, SHARD_STUCK_VCPU) - 1;
  if (vcpu !== NONE && guestOfVcpu(shard.memory, vcpu) === guest)
    setShardWord(shard, SHARD_STUCK_VCPU, 0);
}

/** Clears D in every mergeable page and marks it; returns how many had it. */
function clearDirty(memory: Memory, guest: GuestId): number {
  const { control, layout } = memory;
  const base = guestBase(memory, guest);
  const end = base + guestPages(memory, guest);
  const across = knobMergeAcrossNodes(memory);
  let cleared = 0;
  for (let first = base; first < end; first += 32) {
    const mergeable = plainLoad(control, layout.mergeable + (first >>> 5));
    let present = 0;
    let hot = 0;
    for (let bits = mergeable; bits !== 0; bits &= bits - 1) {
      const bit = 31 - Math.clz32(bits & -bits);
      const pte = readPte(memory, first + bit);
      if (pte === PTE_NONE) continue;
      present |= 1 << bit;
      if ((pte & PTE_DIRTY) === 0) continue;
      hot |= 1 << bit;
      if (clearPage(memory, first + bit, pte)) cleared++;
    }
    plainStore(control, layout.visit + (first >>> 5), present);
    plainStore(control, layout.hot + (first >>> 5), hot);
    const again = across ? hot : hot | takeMoved(memory, first);
    const pending = layout.pending + (first >>> 5);
    if (again !== 0) plainStore(control, pending, plainLoad(control, pending) | again);
  }
  return cleared;
}

/** Clears D; an entry belongs to somebody else, so it keeps D and the page is hot all the same. */
function clearPage(memory: Memory, slot: Slot, seen: number): boolean {
  for (let pte = seen; (pte & PTE_DIRTY) !== 0 && !pteIsEntry(pte); pte = readPte(memory, slot)) {
    if (casPte(memory, slot, pte, pte & ~PTE_DIRTY)) return true;
  }
  return false;
}

/** The shootdown was given up: sets D again wherever it was cleared, and leaves nothing to visit. */
function restoreDirty(memory: Memory, guest: GuestId): void {
  const { control, layout } = memory;
  const base = guestBase(memory, guest);
  const end = base + guestPages(memory, guest);
  for (let first = base; first < end; first += 32) {
    plainStore(control, layout.visit + (first >>> 5), 0);
    for (let bits = plainLoad(control, layout.hot + (first >>> 5)); bits !== 0; bits &= bits - 1) {
      setDirty(memory, first + 31 - Math.clz32(bits & -bits));
    }
    plainStore(control, layout.hot + (first >>> 5), 0);
  }
}

function setDirty(memory: Memory, slot: Slot): void {
  for (;;) {
    const pte = readPte(memory, slot);
    if (pte === PTE_NONE || (pte & PTE_DIRTY) !== 0) return;
    // A migrator's entry ends with the flags that it began with: without D, if it found the pte as we left it.
    if (pteIsEntry(pte)) waitForEntry(memory, slot, pte);
    else if (casPte(memory, slot, pte, pte | PTE_DIRTY)) return;
  }
}
