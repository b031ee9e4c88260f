/**
 * shootdown - making every vCPU of a guest forget translations, and knowing that it has.
 *
 * OWNS    guest.shootdownSeq, guest.ring, vcpu.state, vcpu.sleepers, vcpu.owner, guest.vcpu, TLB tags
 *
 * A vCPU is outside guest mode, or inside and has seen shootdown number `ack`; both are one word, so an
 * initiator can sleep on exactly what it waits for. Beside it a *count* of initiators that may sleep.
 *
 *      initiator                              vCPU
 *      change the ptes                        enter: state = ack|IN; load seq; moved: drop, state = seq|IN
 *      seq + 1                                fill:  read pte; store tag; load seq; moved: drop, again
 *      wipe the page's tags, poll; all, poll  hit:   plain load of the tag, no more
 *      each vCPU: outside, or ack >= seq      exit:  state = ack
 *
 * The hit path needs no poll: the wipe makes its next access miss, and the miss acknowledges. First only the
 * page's tags go, which costs the vCPU least; if it does not touch that page soon, all go. The wipe is racy
 * on purpose; only the acknowledgement completes a shootdown, so a late or lost wipe costs time.
 * The ring tells a vCPU that is a little behind which pages to drop; further behind it drops all.
 *
 * INVARIANTS
 *   SHOOT-1  awaitShootdown returned NONE => no vCPU of the guest uses a translation that it made
 *            before the ptes changed.
 *   SHOOT-2  a thread that waits here is in no vCPU (else two of them wait for each other).
 *   SHOOT-3  an initiator sleeps on state s => the word was s after the count was raised: whoever
 *            changes it sees the count and notifies.
 * ORDER   seq.bump <-> seq.see; vcpu.enter <-> vcpu.look; sleepers.up <-> sleepers.see
 * MODEL   test/model/shootdown.test.ts
 * LINUX   flush_tlb_mm_range, membarrier; there an interrupt does what the tag wipe does here.
 */
import { assert } from "../base/assert.js";
import {
  addWord,
  casWord,
  loadWord,
  notifyWord,
  plainLoad,
  plainStore,
  racyLoad,
  racyStore,
  storeWord,
  waitWord,
} from "../base/atomics.js";
import {
  GUEST_RING,
  GUEST_SEQ,
  GUEST_VCPU,
  makeShootdownEntry,
  SHOOTDOWN_ALL,
  SHOOTDOWN_RING,
  shootdownEntryGfn,
  shootdownEntryIsFor,
  TLB_MASK,
  TLB_READ_TAGS,
  TLB_WORDS,
  TLB_WRITE_TAGS,
  VCPU_GUEST,
  VCPU_IN,
  VCPU_NEXT,
  VCPU_OWNER,
  VCPU_SLEEPERS,
  VCPU_STATE,
  VCPU_WORDS,
  vcpuHasSeen,
  vcpuInside,
  vcpuOutside,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type Gfn, type GuestId, NONE, type VcpuId, type WordIndex } from "../base/units.js";
import { takeChanges } from "./blocks.js";
import { guestCount, guestIsLive, guestWord } from "./guest.js";

export function vcpuWord(memory: Memory, vcpu: VcpuId): WordIndex {
  return memory.layout.vcpus + vcpu * VCPU_WORDS;
}

/** Index of the tags of a vCPU: those of read translations, then those of write translations. */
export function tagsWord(memory: Memory, vcpu: VcpuId): WordIndex {
  return memory.layout.tlbs + vcpu * TLB_WORDS;
}

/** Gives the unused vCPU record `vcpu` to `guest` and puts it on the guest's list, owned by this thread. */
export function initVcpu(memory: Memory, vcpu: VcpuId, guest: GuestId): void {
  const { control } = memory;
  const record = vcpuWord(memory, vcpu);
  const head = guestWord(memory, guest) + GUEST_VCPU;
  plainStore(control, record + VCPU_GUEST, guest);
  plainStore(control, record + VCPU_OWNER, memory.thread + 1);
  for (;;) {
    // ORDER vcpu.join <-> vcpu.list: on the list before it first enters; else a shootdown misses it.
    const next = loadWord(control, head);
    plainStore(control, record + VCPU_NEXT, next);
    if (casWord(control, head, next, vcpu + 1) === next) return;
  }
}

/** Takes a vCPU of the guest that nobody owns; NONE if there is none. */
export function adoptVcpu(memory: Memory, guest: GuestId): VcpuId {
  for (let vcpu = firstVcpu(memory, guest); vcpu !== NONE; vcpu = nextVcpu(memory, vcpu)) {
    const owner = vcpuWord(memory, vcpu) + VCPU_OWNER;
    // ORDER vcpu.adopt <-> vcpu.disown: taken by one thread only, and outside guest mode.
    if (casWord(memory.control, owner, 0, memory.thread + 1) === 0) return vcpu;
  }
  return NONE;
}

/** Gives the vCPU back, or takes it from a thread that died: it counts as outside from now on. */
export function disownVcpu(memory: Memory, vcpu: VcpuId): void {
  const record = vcpuWord(memory, vcpu);
  // ORDER vcpu.dead <-> vcpu.look: nobody runs it any more; else initiators wait for a dead thread.
  const state = loadWord(memory.control, record + VCPU_STATE);
  storeWord(memory.control, record + VCPU_STATE, state & ~VCPU_IN);
  notifySleepers(memory, vcpu);
  // ORDER vcpu.disown <-> vcpu.adopt, vcpu.owner: outside first; else its next owner starts inside.
  storeWord(memory.control, record + VCPU_OWNER, 0);
}

/** Thread that owns the vCPU; NONE: nobody. */
export function vcpuOwner(memory: Memory, vcpu: VcpuId): number {
  // ORDER vcpu.owner <- vcpu.disown
  return loadWord(memory.control, vcpuWord(memory, vcpu) + VCPU_OWNER) - 1;
}

export function firstVcpu(memory: Memory, guest: GuestId): VcpuId {
  // ORDER vcpu.list <- vcpu.join
  return loadWord(memory.control, guestWord(memory, guest) + GUEST_VCPU) - 1;
}

export function nextVcpu(memory: Memory, vcpu: VcpuId): VcpuId {
  return plainLoad(memory.control, vcpuWord(memory, vcpu) + VCPU_NEXT) - 1;
}

export function guestOfVcpu(memory: Memory, vcpu: VcpuId): GuestId {
  return plainLoad(memory.control, vcpuWord(memory, vcpu) + VCPU_GUEST);
}

// --- the vCPU's side -------------------------------------------------------------------------

/** The last shootdown number of the guest. */
export function shootdownSeq(memory: Memory, guest: GuestId): number {
  // ORDER seq.see <- seq.bump
  return loadWord(memory.control, guestWord(memory, guest) + GUEST_SEQ);
}

/** Enters guest mode having seen `ack`; returns the number seen from now on. */
export function enterGuestMode(memory: Memory, vcpu: VcpuId, ack: number): number {
  const guest = guestOfVcpu(memory, vcpu);
  const state = vcpuWord(memory, vcpu) + VCPU_STATE;
  // RACY: a stale number only postpones this; its use is 2^29 shootdowns away from the wrap.
  const seq = racyLoad(memory.control, guestWord(memory, guest) + GUEST_SEQ);
  // Far behind, the stored number would look as if it were ahead (vcpuHasSeen wraps): catch up while outside.
  const from = ((seq - ack) >>> 0) >>> 29 === 0 ? ack : dropTranslations(memory, vcpu, ack, seq);
  // ORDER vcpu.enter <-> vcpu.look: inside is stored before the sequence is loaded (seq.see), and an
  // initiator looks here after it bumped; loaded first, both could miss each other (H45).
  storeWord(memory.control, state, vcpuInside(from));
  return catchUp(memory, vcpu, from);
}

/** Leaves guest mode. */
export function leaveGuestMode(memory: Memory, vcpu: VcpuId, ack: number): void {
  // ORDER vcpu.exit <-> vcpu.look: our accesses come first; else a frame is reused under them.
  storeWord(memory.control, vcpuWord(memory, vcpu) + VCPU_STATE, vcpuOutside(ack));
  notifySleepers(memory, vcpu);
}

/** A safepoint: drops what shootdowns since `ack` were for, acknowledges, returns the number seen. */
export function catchUp(memory: Memory, vcpu: VcpuId, ack: number): number {
  const seq = shootdownSeq(memory, guestOfVcpu(memory, vcpu));
  if (seq === ack) return ack;
  dropTranslations(memory, vcpu, ack, seq);
  // ORDER vcpu.ack <-> vcpu.look: the translations are dropped first; else the initiator goes on while one is used.
  storeWord(memory.control, vcpuWord(memory, vcpu) + VCPU_STATE, vcpuInside(seq));
  notifySleepers(memory, vcpu);
  // Whoever changes blocks interrupts every vCPU. Nobody waits for us here any more: this may take milliseconds.
  takeChanges(memory);
  return seq;
}

function notifySleepers(memory: Memory, vcpu: VcpuId): void {
  const record = vcpuWord(memory, vcpu);
  // ORDER sleepers.see <-> sleepers.up, sleepers.down: after the state changed; else an initiator that counts itself
  // now sleeps on the old state for ever (SHOOT-3).
  if (loadWord(memory.control, record + VCPU_SLEEPERS) === 0) return;
  // ORDER vcpu.wake <-> vcpu.sleep: after the state changed; else the sleeper sees the old one and sleeps on.
  notifyWord(memory.control, record + VCPU_STATE, Number.POSITIVE_INFINITY);
}

function dropTranslations(memory: Memory, vcpu: VcpuId, ack: number, seq: number): number {
  const ring = guestWord(memory, guestOfVcpu(memory, vcpu)) + GUEST_RING;
  const behind = (seq - ack) | 0;
  if (behind > 0 && behind <= SHOOTDOWN_RING) {
    for (let number = (ack + 1) | 0; ; number = (number + 1) | 0) {
      // ORDER ring.read <- ring.write
      const entry = loadWord(memory.control, ring + (number & (SHOOTDOWN_RING - 1)));
      const gfn = shootdownEntryIsFor(entry, number) ? shootdownEntryGfn(entry) : SHOOTDOWN_ALL;
      wipeTags(memory, vcpu, gfn);
      if (gfn === SHOOTDOWN_ALL || number === seq) return seq;
    }
  }
  wipeTags(memory, vcpu, SHOOTDOWN_ALL);
  return seq;
}

/** Empties a TLB that nobody uses: what its last owner translated is not its next owner's. */
export function emptyTlb(memory: Memory, vcpu: VcpuId): void {
  wipeTags(memory, vcpu, SHOOTDOWN_ALL);
}

/** Empties the tags that may translate `gfn`, or all of them. */
function wipeTags(memory: Memory, vcpu: VcpuId, gfn: Gfn): void {
  const tags = tagsWord(memory, vcpu);
  if (gfn !== SHOOTDOWN_ALL) {
    // RACY: by its vCPU this is a plain store of its own; by an initiator it only hastens the next miss,
    // which is where the vCPU looks at the sequence (SHOOT-1 rests on the acknowledgement alone).
    racyStore(memory.control, tags + TLB_READ_TAGS + (gfn & TLB_MASK), NONE);
    racyStore(memory.control, tags + TLB_WRITE_TAGS + (gfn & TLB_MASK), NONE);
    return;
  }
  for (let tag = 0; tag < TLB_WORDS; tag++) {
    // RACY: as above.
    racyStore(memory.control, tags + tag, NONE);
  }
}

// --- the initiator's side ---------------------------------------------------------------------

/** Brings every vCPU to a safepoint at its next access, and waits for none: for changes of blocks. */
export function interruptVcpus(memory: Memory): void {
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (!guestIsLive(memory, guest)) continue;
    beginShootdown(memory, guest, SHOOTDOWN_ALL);
    for (let vcpu = firstVcpu(memory, guest); vcpu !== NONE; vcpu = nextVcpu(memory, vcpu)) {
      wipeTags(memory, vcpu, SHOOTDOWN_ALL);
    }
  }
}

/** Begins a shootdown of `gfn`, or of SHOOTDOWN_ALL, after the ptes changed; returns its number. */
export function beginShootdown(memory: Memory, guest: GuestId, gfn: Gfn): number {
  const record = guestWord(memory, guest);
  // ORDER seq.bump <-> seq.see: after the ptes; else a vCPU acknowledges and then fills from the old pte.
  const seq = (addWord(memory.control, record + GUEST_SEQ, 1) + 1) | 0;
  // ORDER ring.write -> ring.read: its number is in it; a vCPU that finds another drops everything.
  storeWord(
    memory.control,
    record + GUEST_RING + (seq & (SHOOTDOWN_RING - 1)),
    makeShootdownEntry(gfn, seq),
  );
  return seq;
}

/**
 * Waits until every vCPU of the guest is outside or has seen `seq`, for `timeoutMs` a vCPU at most.
 * Returns NONE, or the vCPU that did neither: the caller then takes its ptes back.
 */
export function awaitShootdown(
  memory: Memory,
  guest: GuestId,
  gfn: Gfn,
  seq: number,
  timeoutMs: number,
): VcpuId {
  assert(!memory.guestMode.inside, "SHOOT-2", "a thread waits for a shootdown in guest mode");
  for (let vcpu = firstVcpu(memory, guest); vcpu !== NONE; vcpu = nextVcpu(memory, vcpu)) {
    const record = vcpuWord(memory, vcpu);
    if (hasSeen(memory, record, seq)) continue;
    wipeTags(memory, vcpu, gfn);
    if (pollVcpu(memory, record, seq)) continue;
    // It may run on for long without touching that page: now whatever it touches next is a miss.
    if (gfn !== SHOOTDOWN_ALL) wipeTags(memory, vcpu, SHOOTDOWN_ALL);
    if (!pollVcpu(memory, record, seq) && !sleepOnVcpu(memory, record, seq, timeoutMs)) return vcpu;
  }
  return NONE;
}

function hasSeen(memory: Memory, record: WordIndex, seq: number): boolean {
  // ORDER vcpu.look <-> vcpu.enter, vcpu.exit, vcpu.ack, vcpu.dead: after seq.bump.
  const state = loadWord(memory.control, record + VCPU_STATE);
  return (state & VCPU_IN) === 0 || vcpuHasSeen(state, seq);
}

function pollVcpu(memory: Memory, record: WordIndex, seq: number): boolean {
  for (let poll = memory.patience.polls; poll > 0; poll--) {
    if (hasSeen(memory, record, seq)) return true;
  }
  return false;
}

function sleepOnVcpu(memory: Memory, record: WordIndex, seq: number, timeoutMs: number): boolean {
  const { control } = memory;
  let done = false;
  let timedOut = timeoutMs === 0;
  // ORDER sleepers.up <-> sleepers.see: counted before the state is read again; else the vCPU moves on
  // between and wakes nobody (SHOOT-3).
  addWord(control, record + VCPU_SLEEPERS, 1);
  for (;;) {
    const state = loadWord(control, record + VCPU_STATE);
    done = (state & VCPU_IN) === 0 || vcpuHasSeen(state, seq);
    if (done || timedOut) break;
    // ORDER vcpu.sleep <-> vcpu.wake: on the very word and value that was judged.
    timedOut = !waitWord(control, record + VCPU_STATE, state, timeoutMs);
  }
  // ORDER sleepers.down <-> sleepers.see: no longer asleep; left up, every exit would pay for a notify.
  addWord(control, record + VCPU_SLEEPERS, -1);
  return done;
}
