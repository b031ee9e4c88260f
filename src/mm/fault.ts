/**
 * fault - what happens when a vCPU meets a pte that does not allow its access.
 *
 * OWNS    engine.cowKsm
 *
 *   none + write        a zeroed frame of the guest's node, installed W|D
 *   read-only + write   always a copy (W <=> exclusive):
 *                       get old; pte again; copy; pte -> entry; shoot down; install W|D; wake; drop old
 *   entry               wait for its owner (mm/pte.ts)
 *
 * The entry is what makes the copy safe: between the shootdown and the install nobody of the guest can
 * read the old frame through a stale translation, or write the new one before all have forgotten the old.
 * Everything here runs outside guest mode; on any other outcome than an error the access is tried again.
 *
 * INVARIANTS  PTE-1, PTE-2, PTE-3 (mm/pte.ts)
 *   FAULT-1  an error leaves the pte as it was: the guest keeps every byte, the write is not done.
 * ORDER   through pte.cas, pte.finish
 * MODEL   test/model/fault.test.ts
 * LINUX   do_anonymous_page, do_wp_page / wp_page_copy, migration_entry_wait.
 */
import { countWord } from "../base/atomics.js";
import {
  ENGINE_COW_KSM,
  makePte,
  PTE_DIRTY,
  PTE_MERGED,
  PTE_NONE,
  PTE_PRESENT,
  PTE_WRITABLE,
  ptePfn,
} from "../base/layout.js";
import { blockOf, frameByte, type Memory } from "../base/memory.js";
import { type GuestId, NONE, PAGE_SIZE, type Pfn, type Slot } from "../base/units.js";
import { allocFrame, putPage } from "./frames.js";
import { guestBase, guestFamily, guestNode, guestOfSlot } from "./guest.js";
import { drainAllLimbo, drainsInFlight, waitForDrain } from "./limbo.js";
import { addMapping, dropMapping, REF_HELD, tryGetPage } from "./page-ref.js";
import { casPte, entryFor, finishEntry, readPte } from "./pte.js";
import { awaitShootdown, beginShootdown } from "./shootdown.js";

/** Done, or somebody else did something: read the pte again. */
export const FAULT_RETRY = 0;
/** No node has a free frame. */
export const FAULT_NO_FRAME = 1;
/** A vCPU of the guest did not reach a safepoint in time; nothing changed. */
export const FAULT_STUCK = 2;
/** The page has a frame with the bytes that were to be written. */
export const FAULT_DONE = 3;
export type FaultOutcome =
  | typeof FAULT_RETRY
  | typeof FAULT_NO_FRAME
  | typeof FAULT_STUCK
  | typeof FAULT_DONE;

/** Flags of a private page that was just made: writable, and not yet seen by a harvest. */
export const PTE_PRIVATE = PTE_PRESENT | PTE_WRITABLE | PTE_DIRTY;

/** How often an allocator waits for drains of others, before it takes them for hung. */
const DRAIN_WAITS = 16;
/** How often it asks for a block more: others may take all frames of the one that came. */
const GROWTHS = 4;

/** Takes a frame for a page of `guest`, if one is free at this moment: it waits for nobody. */
export function allocForPageNow(memory: Memory, guest: GuestId, slot: Slot): Pfn {
  const gfn = slot - guestBase(memory, guest);
  return allocFrame(memory, guestNode(memory, guest), guestFamily(memory, guest), gfn);
}

/**
 * Takes a frame for a page of `guest`; frames in limbo are freed, and a block more is asked for, before it reports
 * that there is none.
 */
export function allocForPage(memory: Memory, guest: GuestId, slot: Slot): Pfn {
  let pfn = allocDrained(memory, guest, slot);
  for (let growth = 0; pfn === NONE && growth < GROWTHS; growth++) {
    if (!memory.host.growMemory(guestNode(memory, guest))) break;
    pfn = allocDrained(memory, guest, slot);
  }
  return pfn;
}

function allocDrained(memory: Memory, guest: GuestId, slot: Slot): Pfn {
  let pfn = allocForPageNow(memory, guest, slot);
  for (let wait = 0; pfn === NONE && wait < DRAIN_WAITS; wait++) {
    const drained = drainAllLimbo(memory, memory.patience.scanMs);
    // Read before the bits are looked at again: with none in flight, whatever was in limbo is free by now.
    const drains = drainsInFlight(memory);
    pfn = allocForPageNow(memory, guest, slot);
    if (pfn !== NONE || (drained === 0 && drains === 0)) break;
    if (drains !== 0) waitForDrain(memory, drains);
  }
  return pfn;
}

/** none + write: gives the page a zeroed frame. */
export function populatePage(memory: Memory, slot: Slot): FaultOutcome {
  const pfn = allocForPage(memory, guestOfSlot(memory, slot), slot);
  if (pfn === NONE) return FAULT_NO_FRAME;
  memory.kernels.zeroPage(pfn);
  installPrivate(memory, slot, pfn);
  return FAULT_RETRY;
}

/** none + a write of the whole page: gives it a frame with these 4,096 bytes. */
export function populatePageWith(
  memory: Memory,
  slot: Slot,
  source: Uint8Array,
  offset: number,
): FaultOutcome {
  const pfn = allocForPage(memory, guestOfSlot(memory, slot), slot);
  if (pfn === NONE) return FAULT_NO_FRAME;
  const content = source.subarray(offset, offset + PAGE_SIZE);
  blockOf(memory, pfn).bytes.set(content, frameByte(memory, pfn));
  return installPrivate(memory, slot, pfn) ? FAULT_DONE : FAULT_RETRY;
}

/** Installs a frame of ours in a pte that is none. False: it is not any more, and the frame is freed again. */
function installPrivate(memory: Memory, slot: Slot, pfn: Pfn): boolean {
  addMapping(memory, pfn);
  if (casPte(memory, slot, PTE_NONE, makePte(pfn, PTE_PRIVATE))) return true;
  dropMapping(memory, pfn);
  putPage(memory, pfn);
  return false;
}

/** read-only + write: copies the page that `pte` maps to a frame of its own, W and D. */
export function breakCow(memory: Memory, slot: Slot, pte: number): FaultOutcome {
  const old = ptePfn(pte);
  // A reference first, then the pte again: unchanged, the frame is the one it names (O3).
  if (tryGetPage(memory, old) !== REF_HELD) return FAULT_RETRY;
  if (readPte(memory, slot) !== pte) {
    putPage(memory, old);
    return FAULT_RETRY;
  }
  const guest = guestOfSlot(memory, slot);
  const copy = allocForPage(memory, guest, slot);
  if (copy === NONE) {
    putPage(memory, old);
    return FAULT_NO_FRAME;
  }
  memory.kernels.copyPage(copy, old);
  const outcome = replaceByCopy(memory, guest, slot, pte, copy);
  putPage(memory, old);
  return outcome;
}

/** The second half of breakCow: from the filled copy to the installed one. Frees the copy if it is not installed. */
function replaceByCopy(
  memory: Memory,
  guest: GuestId,
  slot: Slot,
  pte: number,
  copy: Pfn,
): FaultOutcome {
  if (!casPte(memory, slot, pte, entryFor(pte))) {
    putPage(memory, copy);
    return FAULT_RETRY;
  }
  const gfn = slot - guestBase(memory, guest);
  const seq = beginShootdown(memory, guest, gfn);
  if (awaitShootdown(memory, guest, gfn, seq, memory.patience.faultMs) !== NONE) {
    finishEntry(memory, slot, pte);
    putPage(memory, copy);
    return FAULT_STUCK;
  }
  addMapping(memory, copy);
  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));
  if ((pte & PTE_MERGED) !== 0) {
    countWord(memory.control, memory.layout.engine + ENGINE_COW_KSM, 1);
  }
  // The mapping's own reference; our transient one goes in breakCow.
  dropMapping(memory, ptePfn(pte));
  putPage(memory, ptePfn(pte));
  return FAULT_RETRY;
}
