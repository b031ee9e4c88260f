/**
 * pte - the word at (guest, gfn): which frame a page is in, and what may be done through it.
 *
 * OWNS    guest.pte, engine.ksmPtes
 *
 *                 populate                      COW, discard, migration
 *        NONE ---------------> PRESENT --------------------------------> ENTRY
 *                              |  ^  ^                                     |
 *             merge, seal, D   |  |  +------- its owner alone -------------+
 *                              +--+
 *
 *   W  the only mapping of the frame, and stores go through. Without W a store copies first.
 *   D  set by whoever makes a writable translation or a pin, before using it; cleared by harvest alone.
 *   M  the frame is a KSM frame. Kept in entries, so unmerge needs to look at nothing else.
 *   S  somebody sleeps on the word.
 *
 * The D reservation: after a harvest's shootdown, a present pte with D clear has no writable translation,
 * and can get none, nor a pin, without its word changing first (I1); a pin from before shows in the ref. So
 * one CAS against the exact remembered word both checks that nobody wrote the page since and redirects it.
 * Merging rests on this.
 *
 * INVARIANTS
 *   PTE-1 (I1)  a writable translation of (guest, gfn) => its pte is present, W and D on that frame, or
 *               a shootdown begun after the pte changed has not completed.
 *   PTE-2 (I2)  a pte that can be written through without a shootdown (none, or W) => no TLB of the guest
 *               translates that gfn to another frame.
 *   PTE-3       W => no other pte maps the frame. M => not W.
 *   PTE-4       an entry is changed by the thread that put it there and nobody else (but for S).
 *               Its frame's ref and mapcount still count it until the owner drops them.
 *   PTE-5       engine.ksmPtes >= ptes with M at any time, equal at any quiet moment.
 * ORDER   pte.read <-> pte.cas, pte.finish; pte.mark <-> pte.finish; ksmPtes.up -> ksmPtes.read
 * MODEL   test/model/fault.test.ts
 * LINUX   pte_t, migration entries (swapops.h), ptep_get_and_clear, pte_same.
 */
import { assert } from "../base/assert.js";
import { addWord, casWord, exchangeWord, loadWord, notifyWord } from "../base/atomics.js";
import {
  ENGINE_KSM_PTES,
  PTE_ENTRY,
  PTE_MERGED,
  PTE_PRESENT,
  PTE_SLEEPERS,
  PTE_STATE_MASK,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Slot } from "../base/units.js";
import { sleepWhile } from "./wait.js";

export function pteIsPresent(pte: number): boolean {
  return (pte & PTE_STATE_MASK) === PTE_PRESENT;
}

export function pteIsEntry(pte: number): boolean {
  return (pte & PTE_STATE_MASK) === PTE_ENTRY;
}

/** The entry that stands for `pte` while its owner works: same frame, same bits. */
export function entryFor(pte: number): number {
  return (pte & ~PTE_STATE_MASK) | PTE_ENTRY;
}

export function readPte(memory: Memory, slot: Slot): number {
  // ORDER pte.read <- pte.cas, pte.merge, pte.unmerge, pte.finish
  return loadWord(memory.control, memory.layout.ptes + slot);
}

/**
 * Changes the pte if it is exactly `expected`; M is the same in both. Every transition of a pte that is
 * not an entry goes through this or one of the two functions below.
 */
export function casPte(memory: Memory, slot: Slot, expected: number, pte: number): boolean {
  assert(((expected ^ pte) & PTE_MERGED) === 0, "PTE-5", "M changed without its count: slot", slot);
  // ORDER pte.cas <-> pte.read: the frame's content, ref and mapcount come first; else another thread
  // follows the pte into a frame that is being filled, or may be freed.
  return casWord(memory.control, memory.layout.ptes + slot, expected, pte) === expected;
}

/** As casPte, for a transition that sets M. */
export function casPteMerged(memory: Memory, slot: Slot, expected: number, pte: number): boolean {
  assert((expected & PTE_MERGED) === 0 && (pte & PTE_MERGED) !== 0, "PTE-5", "not a merge", slot);
  const counts = memory.layout.engine + ENGINE_KSM_PTES;
  // ORDER ksmPtes.up -> ksmPtes.read: before the pte has M; else the count reads 0 while a merged page
  // is left (H100).
  addWord(memory.control, counts, 1);
  // ORDER pte.merge <-> pte.read: as pte.cas.
  if (casWord(memory.control, memory.layout.ptes + slot, expected, pte) === expected) return true;
  // ORDER ksmPtes.undo -> ksmPtes.read: the CAS failed, so it counted nothing; else the count never falls to 0.
  addWord(memory.control, counts, -1);
  return false;
}

/** As casPte, for a transition that clears M (a candidate unsealed). */
export function casPteUnmerged(memory: Memory, slot: Slot, expected: number, pte: number): boolean {
  assert(
    (expected & PTE_MERGED) !== 0 && (pte & PTE_MERGED) === 0,
    "PTE-5",
    "not an unmerge",
    slot,
  );
  // ORDER pte.unmerge <-> pte.read: as pte.cas.
  const changed = casWord(memory.control, memory.layout.ptes + slot, expected, pte) === expected;
  if (changed) dropKsmPte(memory);
  return changed;
}

function dropKsmPte(memory: Memory): void {
  // ORDER ksmPtes.down -> ksmPtes.read: after the pte lost M; else the count reads 0 too early (H100).
  addWord(memory.control, memory.layout.engine + ENGINE_KSM_PTES, -1);
}

/** Ptes with M: exact at a quiet moment, never low. */
export function ksmPtes(memory: Memory): number {
  // ORDER ksmPtes.read <- ksmPtes.up, ksmPtes.undo, ksmPtes.down
  return loadWord(memory.control, memory.layout.engine + ENGINE_KSM_PTES);
}

/** The owner of an entry ends it: the pte becomes `pte`, and whoever waited goes on. */
export function finishEntry(memory: Memory, slot: Slot, pte: number): void {
  const index = memory.layout.ptes + slot;
  // ORDER pte.finish <-> pte.read, pte.mark: the new frame's content first; and by exchange, so that a
  // sleeper that marks the word at this moment is seen (H88).
  const entry = exchangeWord(memory.control, index, pte);
  assert(pteIsEntry(entry), "PTE-4", "entry changed by another than its owner: slot", slot, entry);
  if ((entry & PTE_MERGED) !== 0 && (pte & PTE_MERGED) === 0) dropKsmPte(memory);
  if ((entry & PTE_SLEEPERS) === 0) return;
  // ORDER pte.wake <-> slice.sleep: after the word changed; else the sleeper finds the entry and sleeps on.
  notifyWord(memory.control, index, Number.POSITIVE_INFINITY);
}

/**
 * Sleeps until the entry `pte` has ended (or for no reason: the caller reads again).
 * The caller holds no page lock and is in no vCPU.
 */
export function waitForEntry(memory: Memory, slot: Slot, pte: number): void {
  assert(
    !memory.guestMode.inside,
    "PTE-4",
    "a thread waits for an entry in guest mode: slot",
    slot,
  );
  const index = memory.layout.ptes + slot;
  const marked = pte | PTE_SLEEPERS;
  // ORDER pte.mark <-> pte.finish: marked before sleeping; else the owner does not know to wake us.
  if (pte !== marked && casWord(memory.control, index, pte, marked) !== pte) return;
  sleepWhile(memory, memory.control, index, marked);
}
