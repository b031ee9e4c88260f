/**
 * limbo - frames that lost a mapping without a shootdown, and may still be read through a stale TLB.
 *
 * OWNS    guest.limbo (a list through page.index), engine.drains
 *
 * A merge redirects a pte to a frame with equal bytes; nobody is told, because a read of either frame
 * gives the same. But the old frame must not be reused while a TLB still names it. So limbo keeps the
 * mapping's reference, and drops it when a shootdown has completed that began after the pte changed.
 *
 *        merge: pte -> K          pushLimbo            takeLimbo
 *     frame mapped ----------> LIST (of the guest) ------------> private list
 *                                      ^                          |       |
 *                                      |     shootdown given up   |       | shootdown complete
 *                                      +--------------------------+       v
 *                                                                      putPage
 *
 * Taking the list *before* beginning the shootdown is the stamp: every frame on it lost its mapping
 * before the take, so before the shootdown began.
 *
 * INVARIANTS
 *   LIMBO-1  a frame on the list has one reference for it, and is mapped by no pte of the guest.
 *   LIMBO-2  that reference is dropped only after a shootdown of the guest that began after it was taken off.
 *   LIMBO-3  engine.drains counts the lists that somebody has taken and not yet released or put back, and the
 *            batches that migrators have in hand: while it is not 0, frames may be about to become free.
 * ORDER   limbo.push <-> limbo.take; drains.up <-> drains.read
 * MODEL   test/model/limbo.test.ts
 */
import { assert } from "../base/assert.js";
import {
  addWord,
  casWord,
  exchangeWord,
  loadWord,
  notifyWord,
  plainLoad,
  plainStore,
} from "../base/atomics.js";
import { ENGINE_DRAINS, GUEST_LIMBO, SHOOTDOWN_ALL } from "../base/layout.js";
import { blockOf, coldWord, type Memory } from "../base/memory.js";
import { type GuestId, NONE, type Pfn } from "../base/units.js";
import { putPage } from "./frames.js";
import { guestCount, guestIsLive, guestWord } from "./guest.js";
import { mapcount } from "./page-ref.js";
import { awaitShootdown, beginShootdown } from "./shootdown.js";
import { sleepWhile } from "./wait.js";

function linkWord(memory: Memory, pfn: Pfn): number {
  return plainLoad(blockOf(memory, pfn).words, coldWord(memory, pfn));
}

/**
 * Leaves the reference of a mapping that `guest` lost to limbo. The pte has changed. It was the frame's only
 * mapping: the list goes through the record's index, which a frame that is still mapped needs.
 */
export function pushLimbo(memory: Memory, guest: GuestId, pfn: Pfn): void {
  assert(mapcount(memory, pfn) === 0, "LIMBO-1", "a mapped frame in limbo", pfn);
  pushList(memory, guest, pfn, pfn);
}

function pushList(memory: Memory, guest: GuestId, first: Pfn, last: Pfn): void {
  const head = guestWord(memory, guest) + GUEST_LIMBO;
  for (;;) {
    // ORDER limbo.push <-> limbo.take, limbo.look: after the pte changed; else a shootdown that began before it would
    // release the frame (LIMBO-2).
    const next = loadWord(memory.control, head);
    plainStore(blockOf(memory, last).words, coldWord(memory, last), next);
    if (casWord(memory.control, head, next, first + 1) === next) return;
  }
}

/**
 * Takes the guest's list; returns its first frame, or NONE. The caller now begins a shootdown of all pages,
 * and ends the drain by releaseLimbo or returnLimbo.
 */
export function takeLimbo(memory: Memory, guest: GuestId): Pfn {
  const head = guestWord(memory, guest) + GUEST_LIMBO;
  // ORDER limbo.look <- limbo.push
  if (loadWord(memory.control, head) === 0) return NONE;

  beginDrain(memory);

  // ORDER limbo.take <-> limbo.push: before the shootdown begins; else it releases frames that lost
  // their mapping after it.
  const first = exchangeWord(memory.control, head, 0) - 1;
  if (first === NONE) endDrain(memory);
  return first;
}

/** Says that frames are going to be free that nobody finds until then; endDrain says that they are. */
export function beginDrain(memory: Memory): void {
  // ORDER drains.up <-> drains.read: before the list, or the first frame, is taken; else an allocator finds
  // neither it nor the drain, and reports that there is no frame.
  addWord(memory.control, memory.layout.engine + ENGINE_DRAINS, 1);
}

export function endDrain(memory: Memory): void {
  const drains = memory.layout.engine + ENGINE_DRAINS;
  // ORDER drains.down <-> drains.read: the frames are free, or back on the list; else an allocator that
  // sees no drain looks for them too early.
  addWord(memory.control, drains, -1);
  // ORDER drains.wake <-> slice.sleep: after the count changed; else the sleeper sees the old one and sleeps on.
  notifyWord(memory.control, drains, Number.POSITIVE_INFINITY);
}

/** Lists and batches that somebody has in hand at this moment. */
export function drainsInFlight(memory: Memory): number {
  // ORDER drains.read <-> drains.up, drains.down: after our own look at the lists.
  return loadWord(memory.control, memory.layout.engine + ENGINE_DRAINS);
}

/** Sleeps while `drains` of them are in hand. The caller holds no page lock and is in no vCPU. */
export function waitForDrain(memory: Memory, drains: number): void {
  sleepWhile(memory, memory.control, memory.layout.engine + ENGINE_DRAINS, drains);
}

/** Drops the references of a list taken by takeLimbo; the shootdown begun since has completed. */
export function releaseLimbo(memory: Memory, first: Pfn): number {
  if (first === NONE) return 0;
  let released = 0;
  for (let pfn = first; pfn !== NONE; released++) {
    const next = linkWord(memory, pfn) - 1;
    putPage(memory, pfn);
    pfn = next;
  }
  endDrain(memory);
  return released;
}

/** Puts a list taken by takeLimbo back; its shootdown was given up. */
export function returnLimbo(memory: Memory, guest: GuestId, first: Pfn): void {
  if (first === NONE) return;
  let last = first;
  for (let next = linkWord(memory, last); next !== 0; next = linkWord(memory, last))
    last = next - 1;
  pushList(memory, guest, first, last);
  endDrain(memory);
}

/** Shoots the guest down and releases what it has in limbo; returns the frames' number. */
export function drainLimbo(memory: Memory, guest: GuestId, timeoutMs: number): number {
  const first = takeLimbo(memory, guest);
  if (first === NONE) return 0;
  const seq = beginShootdown(memory, guest, SHOOTDOWN_ALL);
  if (awaitShootdown(memory, guest, SHOOTDOWN_ALL, seq, timeoutMs) === NONE) {
    return releaseLimbo(memory, first);
  }
  returnLimbo(memory, guest, first);
  return 0;
}

/** The same for every guest: at the end of a pass, when ksmd goes idle, and before "no frame" is reported. */
export function drainAllLimbo(memory: Memory, timeoutMs: number): number {
  let released = 0;
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (guestIsLive(memory, guest)) released += drainLimbo(memory, guest, timeoutMs);
  }
  return released;
}
