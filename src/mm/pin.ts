/**
 * pin - a frame reference held outside the page table: a device, or a caller that wants the bytes in place.
 *
 * OWNS    engine.pins; else it works through pte and ref
 *
 *   pin     make the pte W (unshare, for reading too); get the frame; *then* set D by CAS, or read the
 *           word again if D was set; changed: undo, again
 *   unpin   of a write pin: set D, waiting for an entry; *then* put the reference
 *
 * Setting D is what tells ksmd: its merge is a CAS against the word with D clear, so either the pin's CAS
 * comes first and the merge fails, or the merge comes first and the pin starts again (O5, H43). A pin that
 * only read the word again would let ksmd merge the page under the device. D before the put, because after
 * it ksmd may take the page for quiet although the device's last bytes were not hashed.
 *
 * INVARIANTS
 *   PIN-1  between pin and unpin the page stays in the pinned frame, and what the holder writes is the guest's.
 * ORDER   through pte.cas, ref.get, ref.drop
 * MODEL   test/model/pin.test.ts
 * LINUX   gup_fast_pte_range, FOLL_PIN, unpin_user_page_range_dirty_lock.
 */
import { countWord } from "../base/atomics.js";
import { ENGINE_PINS, PTE_DIRTY, PTE_NONE, PTE_WRITABLE, ptePfn } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { NONE, type Pfn, type Slot } from "../base/units.js";
import { breakCow, FAULT_RETRY, type FaultOutcome, populatePage } from "./fault.js";
import { putPage } from "./frames.js";
import { REF_HELD, tryGetPage } from "./page-ref.js";
import { casPte, pteIsEntry, pteIsPresent, readPte, waitForEntry } from "./pte.js";

/** Pins the page; returns its frame, or NONE with `failure` telling why. The thread is outside guest mode. */
export function pinPage(memory: Memory, slot: Slot, failure: { outcome: FaultOutcome }): Pfn {
  for (;;) {
    const pte = readPte(memory, slot);
    failure.outcome = makeWritable(memory, slot, pte);
    if (failure.outcome !== FAULT_RETRY) return NONE;
    if ((pte & PTE_WRITABLE) === 0 || !pteIsPresent(pte)) continue;
    const pfn = ptePfn(pte);
    if (tryGetPage(memory, pfn) !== REF_HELD) continue;
    if (markDirty(memory, slot, pte)) {
      countWord(memory.control, memory.layout.engine + ENGINE_PINS, 1);
      return pfn;
    }
    putPage(memory, pfn);
  }
}

/** Is the pte still `pte`, and has it D from now on? */
function markDirty(memory: Memory, slot: Slot, pte: number): boolean {
  if ((pte & PTE_DIRTY) !== 0) return readPte(memory, slot) === pte;
  return casPte(memory, slot, pte, pte | PTE_DIRTY);
}

/** One step towards a writable pte; FAULT_RETRY also when `pte` is writable already. */
function makeWritable(memory: Memory, slot: Slot, pte: number): FaultOutcome {
  if (pteIsEntry(pte)) {
    waitForEntry(memory, slot, pte);
    return FAULT_RETRY;
  }
  if (pte === PTE_NONE) return populatePage(memory, slot);
  return (pte & PTE_WRITABLE) === 0 ? breakCow(memory, slot, pte) : FAULT_RETRY;
}

/** Ends a pin. The thread is outside guest mode. */
export function unpinPage(memory: Memory, slot: Slot, pfn: Pfn): void {
  for (;;) {
    const pte = readPte(memory, slot);
    if (pteIsEntry(pte)) {
      waitForEntry(memory, slot, pte);
      continue;
    }
    const dirty = !pteIsPresent(pte) || ptePfn(pte) !== pfn || (pte & PTE_DIRTY) !== 0;
    if (dirty || casPte(memory, slot, pte, pte | PTE_DIRTY)) break;
  }
  putPage(memory, pfn);
  countWord(memory.control, memory.layout.engine + ENGINE_PINS, -1);
}
