/**
 * vcpu - a thread of execution inside a guest: loads, stores, bulk access and pins, in bytes.
 *
 * A hit is one compare of the address with `limit`, one plain load of a tag, and the access: no poll and
 * no atomic. The compare also catches bad addresses and accesses outside a section, which enter and leave
 * guest mode by themselves. The tag is what a shootdown wipes.
 *
 * The accessors are closures over their vCPU, the shape that V8 runs fastest.
 *
 * OWNS    engine.vcpus
 *
 * INVARIANTS
 *   VCPU-1  each vCPU number is given out once; its record goes back to its own guest only.
 * ORDER   vcpus.claim <-> vcpus.count
 * MODEL   test/model/shootdown.test.ts
 */
import {
  addWord,
  loadWord,
  racyLoad,
  racyLoadByte,
  racyStore,
  racyStoreByte,
} from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import { ENGINE_VCPUS, PTE_NONE, TLB_MASK } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import {
  type Gfn,
  type GuestId,
  NONE,
  PAGE_MASK,
  PAGE_SHIFT,
  PAGE_SIZE,
  PAGE_WORDS,
  type Pfn,
  type VcpuId,
} from "../base/units.js";
import {
  FAULT_DONE,
  FAULT_NO_FRAME,
  FAULT_RETRY,
  type FaultOutcome,
  populatePageWith,
} from "./fault.js";
import { pinPage, unpinPage } from "./pin.js";
import { readPte } from "./pte.js";
import { adoptVcpu, emptyTlb, initVcpu } from "./shootdown.js";
import {
  beginSection,
  endSection,
  enterGuestModeAll,
  hasTranslation,
  leaveGuestModeAll,
  type Tlb,
  translate,
} from "./tlb.js";

/** Takes a vCPU of `guest` for this thread: one that was given back, or a new one. */
export function openVcpu(memory: Memory, guest: GuestId): VcpuId {
  const adopted = adoptVcpu(memory, guest);
  if (adopted !== NONE) {
    emptyTlb(memory, adopted);
    return adopted;
  }
  const counter = memory.layout.engine + ENGINE_VCPUS;
  // ORDER vcpus.claim <-> vcpus.count: each number is given once.
  const vcpu = addWord(memory.control, counter, 1);
  if (vcpu >= memory.sizes.vcpus) {
    // ORDER vcpus.unclaim <-> vcpus.count: the number was beyond the table; nobody uses it.
    addWord(memory.control, counter, -1);
    throw new PagefoldError(
      "PAGEFOLD_NO_ROOM",
      `all ${memory.sizes.vcpus} vCPUs are in use; ` +
        "close some, or create the engine with a larger maxVcpus",
      { vcpus: memory.sizes.vcpus },
    );
  }
  emptyTlb(memory, vcpu);
  initVcpu(memory, vcpu, guest);
  return vcpu;
}

/** vCPUs ever created: their numbers are below this. */
export function vcpuCount(memory: Memory): number {
  // ORDER vcpus.count <- vcpus.claim, vcpus.unclaim
  const claimed = loadWord(memory.control, memory.layout.engine + ENGINE_VCPUS);
  return Math.min(claimed, memory.sizes.vcpus);
}

/** Scalar access at byte addresses; aligned addresses are fast, others work. Words are little-endian. */
export interface Accessors {
  /** Unsigned byte. */
  load8(address: number): number;
  /** Signed 32-bit word. */
  load32(address: number): number;
  store8(address: number, value: number): void;
  store32(address: number, value: number): void;
}

/**
 * The hit paths.
 * RACY: in all four, the tag may be wiped and the page written by other vCPUs at any moment. A tag that
 * still stands is good until our next acknowledgement (SHOOT-1); races for guest data are the guest's own
 * affair, as on hardware. An address below 0 is told apart first: shifted, it looks like one near 4 GiB.
 */
export function createAccessors(tlb: Tlb): Accessors {
  const { control } = tlb.memory;
  const { readTags, writeTags, views, byteViews, offsets } = tlb;
  return {
    load8(address) {
      const s = (address >>> PAGE_SHIFT) & TLB_MASK;
      if (
        address > tlb.limit + 3 ||
        address < 0 ||
        racyLoad(control, readTags + s) !== address >>> PAGE_SHIFT
      ) {
        return loadBytesSlow(tlb, address, 1);
      }
      const at = ((offsets[s] as number) << 2) + (address & PAGE_MASK);
      return racyLoadByte(byteViews[s] as Uint8Array, at);
    },
    load32(address) {
      const s = (address >>> PAGE_SHIFT) & TLB_MASK;
      if (
        address > tlb.limit ||
        address < 0 ||
        (address & 3) !== 0 ||
        racyLoad(control, readTags + s) !== address >>> PAGE_SHIFT
      ) {
        return load32Slow(tlb, address);
      }
      const at = (offsets[s] as number) + ((address >>> 2) & (PAGE_WORDS - 1));
      return racyLoad(views[s] as Int32Array, at);
    },
    store8(address, value) {
      const s = (address >>> PAGE_SHIFT) & TLB_MASK;
      if (
        address > tlb.limit + 3 ||
        address < 0 ||
        racyLoad(control, writeTags + s) !== address >>> PAGE_SHIFT
      ) {
        storeBytesSlow(tlb, address, 1, value);
        return;
      }
      const at = ((offsets[s] as number) << 2) + (address & PAGE_MASK);
      racyStoreByte(byteViews[s] as Uint8Array, at, value);
    },
    store32(address, value) {
      const s = (address >>> PAGE_SHIFT) & TLB_MASK;
      if (
        address > tlb.limit ||
        address < 0 ||
        (address & 3) !== 0 ||
        racyLoad(control, writeTags + s) !== address >>> PAGE_SHIFT
      ) {
        store32Slow(tlb, address, value);
        return;
      }
      const at = (offsets[s] as number) + ((address >>> 2) & (PAGE_WORDS - 1));
      racyStore(views[s] as Int32Array, at, value);
    },
  };
}

// --- misses, unaligned words, accesses outside a section ----------------------------------------

function gfnOf(address: number): Gfn {
  return Math.floor(address / PAGE_SIZE);
}

function load32Slow(tlb: Tlb, address: number): number {
  if (address % 4 !== 0) return loadBytesSlow(tlb, address, 4);
  checkRange(tlb, address, 4);
  beginSection(tlb);
  const gfn = gfnOf(address);
  const outcome = translate(tlb, gfn, false);
  const s = gfn & TLB_MASK;
  const at = (tlb.offsets[s] as number) + (address % PAGE_SIZE) / 4;
  // RACY: as the hit path.
  const value = outcome === FAULT_RETRY ? racyLoad(tlb.views[s] as Int32Array, at) : 0;
  endSection(tlb);
  if (outcome !== FAULT_RETRY) throw faultError(tlb, outcome);
  return value;
}

function store32Slow(tlb: Tlb, address: number, given: number): void {
  // What is no number throws here, outside of any section.
  const value = given | 0;
  if (address % 4 !== 0) {
    storeBytesSlow(tlb, address, 4, value);
    return;
  }
  checkRange(tlb, address, 4);
  beginSection(tlb);
  const gfn = gfnOf(address);
  const outcome = translate(tlb, gfn, true);
  const s = gfn & TLB_MASK;
  const at = (tlb.offsets[s] as number) + (address % PAGE_SIZE) / 4;
  // RACY: as the hit path.
  if (outcome === FAULT_RETRY) racyStore(tlb.views[s] as Int32Array, at, value);
  endSection(tlb);
  if (outcome !== FAULT_RETRY) throw faultError(tlb, outcome);
}

function loadBytesSlow(tlb: Tlb, address: number, count: number): number {
  const bytes = new Uint8Array(count);
  readBytes(tlb, address, bytes);
  let value = 0;
  for (let i = count - 1; i >= 0; i--) value = (value << 8) | (bytes[i] as number);
  return value;
}

function storeBytesSlow(tlb: Tlb, address: number, count: number, value: number): void {
  checkRange(tlb, address, count);
  const last = gfnOf(address + count - 1);
  // Of a word across a page border, all or nothing is stored.
  if (last !== gfnOf(address)) makeWritable(tlb, last);
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = value >>> (8 * i);
  writeBytes(tlb, address, bytes);
}

function makeWritable(tlb: Tlb, gfn: Gfn): void {
  beginSection(tlb);
  const outcome = translate(tlb, gfn, true);
  endSection(tlb);
  if (outcome !== FAULT_RETRY) throw faultError(tlb, outcome);
}

// --- bulk ----------------------------------------------------------------------------------------

/** Copies guest bytes from `address` on into `target`. Not atomic against writers of the same bytes. */
export function readBytes(tlb: Tlb, address: number, target: Uint8Array): void {
  forEachPage(tlb, address, target.length, false, (view, at, done, length) => {
    target.set(view.subarray(at, at + length), done);
  });
}

/** Copies `source` into the guest at `address`. */
export function writeBytes(tlb: Tlb, address: number, source: Uint8Array): void {
  const whole = (gfn: Gfn, done: number) => populateWhole(tlb, gfn, source, done);
  forEachPage(
    tlb,
    address,
    source.length,
    true,
    (view, at, done, length) => view.set(source.subarray(done, done + length), at),
    whole,
  );
}

/** Fills `length` guest bytes from `address` on with `byte`. */
export function fillBytes(tlb: Tlb, address: number, length: number, byte: number): void {
  if (!Number.isInteger(byte) || byte < 0 || byte > 255) {
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `a byte is an integer from 0 to 255, not ${byte}`,
      {
        option: "byte",
        value: byte,
      },
    );
  }
  checkRange(tlb, address, length);
  // From a private page: filling shared memory byte by byte takes V8 five times as long.
  const pattern = new Uint8Array(Math.min(length, PAGE_SIZE)).fill(byte);
  const whole = (gfn: Gfn) => populateWhole(tlb, gfn, pattern, 0);
  forEachPage(
    tlb,
    address,
    length,
    true,
    (view, at, _done, count) => view.set(pattern.subarray(0, count), at),
    whole,
  );
}

type PageVisit = (view: Uint8Array, at: number, done: number, length: number) => void;
/** Gives a page without a frame its whole content; FAULT_RETRY: it has a frame. */
type WholePage = (gfn: Gfn, done: number) => FaultOutcome;

function forEachPage(
  tlb: Tlb,
  address: number,
  length: number,
  write: boolean,
  visit: PageVisit,
  whole?: WholePage,
): void {
  checkRange(tlb, address, length);
  let outcome: FaultOutcome = FAULT_RETRY;
  beginSection(tlb);
  for (let done = 0; done < length && outcome === FAULT_RETRY; ) {
    const gfn = gfnOf(address + done);
    const within = (address + done) % PAGE_SIZE;
    const count = Math.min(PAGE_SIZE - within, length - done);
    if (count === PAGE_SIZE && whole !== undefined) outcome = whole(gfn, done);
    if (outcome === FAULT_DONE) {
      outcome = FAULT_RETRY;
    } else if (outcome === FAULT_RETRY) {
      if (!hasTranslation(tlb, gfn, write)) outcome = translate(tlb, gfn, write);
      const s = gfn & TLB_MASK;
      const at = ((tlb.offsets[s] as number) << 2) + within;
      if (outcome === FAULT_RETRY) visit(tlb.byteViews[s] as Uint8Array, at, done, count);
    }
    done += count;
  }
  endSection(tlb);
  if (outcome !== FAULT_RETRY) throw faultError(tlb, outcome);
}

function populateWhole(tlb: Tlb, gfn: Gfn, source: Uint8Array, offset: number): FaultOutcome {
  const { memory } = tlb;
  const slot = tlb.base + gfn;
  if (readPte(memory, slot) !== PTE_NONE) return FAULT_RETRY;
  leaveGuestModeAll(memory);
  const outcome = populatePageWith(memory, slot, source, offset);
  enterGuestModeAll(memory);
  return outcome;
}

// --- pins ----------------------------------------------------------------------------------------

/** Pins page `gfn`; returns its frame. */
export function pin(tlb: Tlb, gfn: Gfn): Pfn {
  const failure: { outcome: FaultOutcome } = { outcome: FAULT_RETRY };
  leaveGuestModeAll(tlb.memory);
  const pfn = pinPage(tlb.memory, tlb.base + gfn, failure);
  enterGuestModeAll(tlb.memory);
  if (pfn === NONE) throw faultError(tlb, failure.outcome);
  return pfn;
}

export function unpin(tlb: Tlb, gfn: Gfn, pfn: Pfn): void {
  leaveGuestModeAll(tlb.memory);
  unpinPage(tlb.memory, tlb.base + gfn, pfn);
  enterGuestModeAll(tlb.memory);
}

// --- errors --------------------------------------------------------------------------------------

/** Throws unless the bytes lie in the guest and the vCPU is open. */
export function checkRange(tlb: Tlb, address: number, length: number): void {
  if (tlb.closed) {
    throw new PagefoldError(
      "PAGEFOLD_CLOSED",
      `vCPU ${tlb.vcpu} is closed; take another from its guest`,
    );
  }
  const whole = Number.isInteger(address) && Number.isInteger(length);
  if (whole && address >= 0 && length >= 0 && address + length <= tlb.bytes) return;
  throw new PagefoldError(
    "PAGEFOLD_BAD_ADDRESS",
    `guest ${tlb.guest} has ${tlb.bytes} bytes; ${length} bytes at ${address} do not lie in it`,
    { guest: tlb.guest, address, length, bytes: tlb.bytes },
  );
}

/** Frames of all blocks that there are. */
function framesInUse(memory: Memory): number {
  const blocks = memory.blocks.filter((block) => block !== null);
  return blocks.length << memory.sizes.framesPerBlockShift;
}

function faultError(tlb: Tlb, outcome: FaultOutcome): PagefoldError {
  const { memory, guest } = tlb;
  if (outcome !== FAULT_NO_FRAME) {
    return new PagefoldError(
      "PAGEFOLD_VCPU_STUCK",
      `a vCPU of guest ${guest} reached no safepoint for ${memory.patience.faultMs} ms; call poll() in its loops`,
      { guest, faultMs: memory.patience.faultMs },
    );
  }
  const frames = framesInUse(memory);
  return new PagefoldError(
    "PAGEFOLD_NO_FRAME",
    `all ${frames} frames are in use; the page is as it was. Create the engine with more memoryPerNode`,
    { guest, frames, bytes: frames * PAGE_SIZE },
  );
}
