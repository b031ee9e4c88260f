/**
 * tlb - a vCPU's private translations, and going in and out of guest mode with them.
 *
 * OWNS    the private half of the TLB (views and offsets); the tags are mm/shootdown.ts's
 *
 *   translate   read pte -> (D by CAS, for a write) -> views, offset -> tag -> look at the sequence;
 *               it moved: drop what it was for, acknowledge, start again
 *
 * INVARIANTS
 *   TLB-1  a tag holds g => views[s], offsets[s] translate g; for a write tag the pte was W and D when
 *          it was made (PTE-1). Reads of `none` are served zeros and never tagged.
 *   TLB-2  no safepoint lies between reading a pte and using the translation made from it.
 *   TLB-3  a thread that waits has left every vCPU that it is in; it reads the pte again afterwards.
 * ORDER   through mm/shootdown.ts and mm/pte.ts
 * MODEL   test/model/shootdown.test.ts
 */
import { racyLoad, racyStore } from "../base/atomics.js";
import {
  PTE_DIRTY,
  PTE_NONE,
  PTE_WRITABLE,
  ptePfn,
  TLB_ENTRIES,
  TLB_MASK,
  TLB_READ_TAGS,
  TLB_WRITE_TAGS,
} from "../base/layout.js";
import { type Block, blockOf, frameByte, type GuestModeVcpu, type Memory } from "../base/memory.js";
import { type Gfn, type GuestId, NONE, PAGE_SIZE, type Slot, type VcpuId } from "../base/units.js";
import { breakCow, FAULT_RETRY, type FaultOutcome, populatePage } from "./fault.js";
import { guestBase, guestPages } from "./guest.js";
import { casPte, pteIsEntry, pteIsPresent, readPte, waitForEntry } from "./pte.js";
import {
  catchUp,
  enterGuestMode,
  guestOfVcpu,
  leaveGuestMode,
  shootdownSeq,
  tagsWord,
} from "./shootdown.js";

/** What reads of a page that has no frame are served from. */
const ZERO_BYTES = new Uint8Array(PAGE_SIZE);
const ZERO_WORDS = new Int32Array(ZERO_BYTES.buffer);

export interface Tlb extends GuestModeVcpu {
  readonly memory: Memory;
  readonly vcpu: VcpuId;
  readonly guest: GuestId;
  readonly base: Slot;
  readonly bytes: number;
  /** Word indexes of the tags. */
  readonly readTags: number;
  readonly writeTags: number;
  /** By entry: the block of the frame, in words and in bytes, and the frame's first word in it. */
  readonly views: Int32Array[];
  readonly byteViews: Uint8Array[];
  readonly offsets: Int32Array;
  /** Last address at which a word may be accessed; below every address while outside guest mode. */
  limit: number;
  /** Nested sections. */
  depth: number;
  /** The last shootdown number seen. */
  ack: number;
  /** The vCPU was given back: no access from here on. */
  closed: boolean;
}

/** `limit` outside guest mode: no address is at or below it, nor 3 bytes above. */
const OUTSIDE = -8;

/** The translations of a vCPU that this thread owns; empty, outside guest mode. */
export function createTlb(memory: Memory, vcpu: VcpuId): Tlb {
  const guest = guestOfVcpu(memory, vcpu);
  const tlb: Tlb = {
    memory,
    vcpu,
    guest,
    base: guestBase(memory, guest),
    bytes: guestPages(memory, guest) * PAGE_SIZE,
    readTags: tagsWord(memory, vcpu) + TLB_READ_TAGS,
    writeTags: tagsWord(memory, vcpu) + TLB_WRITE_TAGS,
    views: new Array(TLB_ENTRIES).fill(ZERO_WORDS),
    byteViews: new Array(TLB_ENTRIES).fill(ZERO_BYTES),
    offsets: new Int32Array(TLB_ENTRIES),
    limit: OUTSIDE,
    depth: 0,
    ack: shootdownSeq(memory, guest),
    closed: false,
    enter: () => enter(tlb),
    leave: () => leave(tlb),
    forgetBlock: (block) => forgetBlock(tlb, block),
  };
  memory.guestMode.vcpus.add(tlb);
  return tlb;
}

/** The block goes: its last translations were shot down when its frames moved away, but their views still stand. */
function forgetBlock(tlb: Tlb, block: Block): void {
  for (let entry = 0; entry < TLB_ENTRIES; entry++) {
    if (tlb.views[entry] === block.words) setEntry(tlb, entry, ZERO_WORDS, ZERO_BYTES, 0);
  }
}

function enter(tlb: Tlb): void {
  tlb.ack = enterGuestMode(tlb.memory, tlb.vcpu, tlb.ack);
  // Word accesses at addresses of more than 32 bits take the slow path.
  tlb.limit = Math.min(tlb.bytes, 2 ** 32) - 4;
}

function leave(tlb: Tlb): void {
  tlb.limit = OUTSIDE;
  leaveGuestMode(tlb.memory, tlb.vcpu, tlb.ack);
}

/** Begins a section: from here on hits need no entering. Sections nest. */
export function beginSection(tlb: Tlb): void {
  tlb.depth++;
  if (tlb.depth > 1) return;
  const { guestMode } = tlb.memory;
  guestMode.sections.push(tlb);
  guestMode.inside = true;
  enter(tlb);
}

/** Ends a section. */
export function endSection(tlb: Tlb): void {
  tlb.depth--;
  if (tlb.depth > 0) return;
  leave(tlb);
  const { guestMode } = tlb.memory;
  guestMode.sections.splice(guestMode.sections.indexOf(tlb), 1);
  guestMode.inside = guestMode.sections.length > 0;
}

/** Ends all sections of the vCPU, whatever an error left open; it is given back. */
export function abandonSections(tlb: Tlb): void {
  if (tlb.depth > 0) {
    tlb.depth = 1;
    endSection(tlb);
  }
  tlb.memory.guestMode.vcpus.delete(tlb);
  tlb.closed = true;
}

/** Leaves every vCPU that the thread is in, because it may have to wait (TLB-3). */
export function leaveGuestModeAll(memory: Memory): void {
  memory.guestMode.inside = false;
  for (const vcpu of memory.guestMode.sections) vcpu.leave();
}

/** Enters them again. */
export function enterGuestModeAll(memory: Memory): void {
  for (const vcpu of memory.guestMode.sections) vcpu.enter();
  memory.guestMode.inside = memory.guestMode.sections.length > 0;
}

/** A safepoint, for loops that touch no guest memory. */
export function pollSafepoint(tlb: Tlb): void {
  if (tlb.depth > 0) tlb.ack = catchUp(tlb.memory, tlb.vcpu, tlb.ack);
}

/**
 * Makes the entry of `gfn` translate it, for reading or for writing. Inside guest mode before and after;
 * an outcome other than FAULT_RETRY means that there is no translation. Until the next translate or
 * safepoint of this vCPU the entry may be used; for a page without a frame it is untagged and reads zeros.
 */
export function translate(tlb: Tlb, gfn: Gfn, write: boolean): FaultOutcome {
  const { memory } = tlb;
  const slot = tlb.base + gfn;
  for (;;) {
    const pte = readPte(memory, slot);
    if (pte === PTE_NONE && !write) {
      setEntry(tlb, gfn, ZERO_WORDS, ZERO_BYTES, 0);
      return FAULT_RETRY;
    }
    if (pteIsPresent(pte) && (!write || (pte & PTE_WRITABLE) !== 0)) {
      // D before the translation is used: by it the harvest knows (PTE-1).
      const dirty = pte | PTE_DIRTY;
      if (write && pte !== dirty && !casPte(memory, slot, pte, dirty)) continue;
      if (fill(tlb, gfn, pte, write)) return FAULT_RETRY;
      continue;
    }
    leaveGuestModeAll(memory);
    const outcome = resolve(memory, slot, pte);
    enterGuestModeAll(memory);
    if (outcome !== FAULT_RETRY) return outcome;
  }
}

/** Fills the entry from `pte`. False: a shootdown came in between, and the pte must be read again. */
function fill(tlb: Tlb, gfn: Gfn, pte: number, write: boolean): boolean {
  const { memory } = tlb;
  const pfn = ptePfn(pte);
  const block = blockOf(memory, pfn);
  setEntry(tlb, gfn, block.words, block.bytes, frameByte(memory, pfn) >>> 2);
  const entry = gfn & TLB_MASK;
  // RACY: an initiator may wipe it at this moment; then the next access misses, no more.
  racyStore(memory.control, tlb.readTags + entry, gfn);
  if (write) racyStore(memory.control, tlb.writeTags + entry, gfn);
  // The tag is stored before the sequence is loaded, and an initiator bumps before it wipes: one of the
  // two sees the other (H45).
  const seen = catchUp(memory, tlb.vcpu, tlb.ack);
  if (seen === tlb.ack) return true;
  tlb.ack = seen;
  return false;
}

function setEntry(tlb: Tlb, gfn: Gfn, view: Int32Array, bytes: Uint8Array, offset: number): void {
  const entry = gfn & TLB_MASK;
  // RACY: our own tags; both go, because read and write translations share the view.
  racyStore(tlb.memory.control, tlb.readTags + entry, NONE);
  racyStore(tlb.memory.control, tlb.writeTags + entry, NONE);
  tlb.views[entry] = view;
  tlb.byteViews[entry] = bytes;
  tlb.offsets[entry] = offset;
}

/** Is there a translation of `gfn` that may be used now? */
export function hasTranslation(tlb: Tlb, gfn: Gfn, write: boolean): boolean {
  const tags = write ? tlb.writeTags : tlb.readTags;
  // RACY: a wipe that comes later is for a shootdown that waits for our acknowledgement (SHOOT-1).
  return racyLoad(tlb.memory.control, tags + (gfn & TLB_MASK)) === gfn;
}

/** Outside guest mode: does for the access what its pte lacks. */
function resolve(memory: Memory, slot: Slot, pte: number): FaultOutcome {
  if (pteIsEntry(pte)) {
    waitForEntry(memory, slot, pte);
    return FAULT_RETRY;
  }
  return pte === PTE_NONE ? populatePage(memory, slot) : breakCow(memory, slot, pte);
}
