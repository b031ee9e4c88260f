/**
 * unmerge - giving merged pages frames of their own again.
 *
 * In batches: each pte with M becomes an entry, its content is copied, one shootdown for the batch, then
 * every pte gets its copy, W and D. Which pages are merged is told by M in the pte alone: deciding through
 * the frame's mapping word leaves a page behind when a migrator moves it at that moment (H31).
 *
 * An owner of entries waits for nothing but its shootdown: a foreign entry is waited for between batches.
 *
 * INVARIANTS
 *   UNMERGE-1  UNMERGED => no pte of the range had M at the end, and none gets it before ksmd scans again.
 *   UNMERGE-2  on any other outcome every page is either merged as before or private, with its bytes.
 * ORDER   pte.cas, seq.bump, pte.finish
 * MODEL   test/model/unmerge.test.ts
 * LINUX   break_ksm, unmerge_ksm_pages, unmerge_and_remove_all_rmap_items.
 */
import { makePte, PTE_MERGED, PTE_NONE, ptePfn, SHOOTDOWN_ALL } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type Gfn, type GuestId, NONE, type Pfn, type Slot } from "../base/units.js";
import { allocForPage, allocForPageNow, PTE_PRIVATE } from "../mm/fault.js";
import { putPage } from "../mm/frames.js";
import { guestBase } from "../mm/guest.js";
import { addMapping, dropMapping, REF_HELD, tryGetPage } from "../mm/page-ref.js";
import { casPte, entryFor, finishEntry, pteIsEntry, readPte, waitForEntry } from "../mm/pte.js";
import { awaitShootdown, beginShootdown } from "../mm/shootdown.js";
import { BATCH_PAGES, type Batch } from "./shard.js";

export const UNMERGED = 0;
/** There are not enough free frames for the copies. */
export const UNMERGE_NO_FRAME = 1;
/** A vCPU of the guest reached no safepoint in time. */
const UNMERGE_STUCK = 2;
/** Nothing is merged any more, but migrators do not let go of a frame: its node could not be dropped. */
export const UNMERGE_BUSY = 3;
export type UnmergeOutcome =
  | typeof UNMERGED
  | typeof UNMERGE_NO_FRAME
  | typeof UNMERGE_STUCK
  | typeof UNMERGE_BUSY;

/** Unmerges pages [from, to) of the guest. `batch` is the caller's scratch. */
export function unmergeRange(
  memory: Memory,
  guest: GuestId,
  from: Gfn,
  to: Gfn,
  batch: Batch,
): UnmergeOutcome {
  const end = guestBase(memory, guest) + to;
  let slot = guestBase(memory, guest) + from;
  while (slot < end) {
    let count = 0;
    let outcome: UnmergeOutcome = UNMERGED;
    let foreign = PTE_NONE;
    while (slot < end && count < BATCH_PAGES && outcome === UNMERGED && foreign === PTE_NONE) {
      const pte = readPte(memory, slot);
      if ((pte & PTE_MERGED) === 0) {
        slot++;
      } else if (pteIsEntry(pte)) {
        // Ours, or somebody else's: ours are the last of the batch, so it ends here either way.
        if (count > 0 && batch.slots[count - 1] === slot) slot++;
        else foreign = pte;
      } else {
        const copied = copyOut(memory, guest, slot, pte, batch, count);
        if (copied === NONE) outcome = UNMERGE_NO_FRAME;
        else count += copied;
      }
    }
    if (!finishCopies(memory, guest, batch, count)) return UNMERGE_STUCK;
    // What the batch copied may have been the last of a merged frame: only who gets no frame at all has none.
    if (outcome !== UNMERGED && count === 0) return outcome;
    if (foreign !== PTE_NONE) waitForEntry(memory, slot, foreign);
  }
  return UNMERGED;
}

/** Copies one merged page and makes its pte an entry: 1; it changed meanwhile: 0; no frame: NONE. */
function copyOut(
  memory: Memory,
  guest: GuestId,
  slot: Slot,
  pte: number,
  batch: Batch,
  count: number,
): number {
  const old = ptePfn(pte);
  // Held and read again, the frame is the one that the pte names; its bytes never change (W is clear).
  if (tryGetPage(memory, old) !== REF_HELD) return 0;
  if (readPte(memory, slot) !== pte) {
    putPage(memory, old);
    return 0;
  }
  // Owning entries it waits for nobody; the batch is finished first, and then limbo may be drained.
  const alloc = count === 0 ? allocForPage : allocForPageNow;
  const copy = alloc(memory, guest, slot);
  if (copy === NONE) {
    const changed = readPte(memory, slot) !== pte;
    putPage(memory, old);
    return changed ? 0 : NONE;
  }
  memory.kernels.copyPage(copy, old);
  const changed = !casPte(memory, slot, pte, entryFor(pte));
  putPage(memory, old);
  if (changed) {
    putPage(memory, copy);
    return 0;
  }
  batch.slots[count] = slot;
  batch.ptes[count] = pte;
  batch.pfns[count] = copy;
  return 1;
}

/** One shootdown for the batch, then every entry becomes its copy; given up, every pte is put back. */
function finishCopies(memory: Memory, guest: GuestId, batch: Batch, count: number): boolean {
  if (count === 0) return true;
  const seq = beginShootdown(memory, guest, SHOOTDOWN_ALL);
  const { faultMs } = memory.patience;
  const complete = awaitShootdown(memory, guest, SHOOTDOWN_ALL, seq, faultMs) === NONE;
  for (let i = 0; i < count; i++) {
    const slot = batch.slots[i] as number;
    const pte = batch.ptes[i] as number;
    const copy = batch.pfns[i] as number;
    if (complete) installCopy(memory, slot, pte, copy);
    else finishEntry(memory, slot, pte);
    if (!complete) putPage(memory, copy);
  }
  return complete;
}

function installCopy(memory: Memory, slot: Slot, pte: number, copy: Pfn): void {
  addMapping(memory, copy);
  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));
  dropMapping(memory, ptePfn(pte));
  putPage(memory, ptePfn(pte));
}
