/**
 * page-lock - who may change what a frame is: its mapping word, the sharer list of its stable node.
 *
 * OWNS    page.lock
 * RANK    the only lock of mm and ksm. A thread waits for a page lock only when it holds none; every
 *         further one is a trylock, busy = try again later. Nobody waits for an entry, a shootdown or
 *         a frame with a page lock held. No fault takes one: guests never wait for ksmd.
 *
 *            trylock / lock                 lock finds it held
 *   FREE ------------------> HELD -----------------------------> WAITERS
 *     ^                       |                                     |
 *     +------- unlock --------+---------- unlock + notify ----------+
 *
 * INVARIANTS
 *   LOCK-1  HELD or WAITERS => exactly one thread is between lock and unlock; the word names it.
 *   LOCK-2  a thread sleeps here => the word is WAITERS, or somebody awake still owes a wake-up:
 *           an unlocker between its exchange and its notify, or a woken thread about to mark again.
 * ORDER   lock.take <-> lock.drop; lock.mark <-> lock.drop
 * MODEL   test/model/page-lock.test.ts
 * LINUX   lock_page, trylock_page, unlock_page; Drepper, "Futexes are tricky", mutex 2.
 */
import { assert } from "../base/assert.js";
import { casWord, exchangeWord, loadWord, notifyWord } from "../base/atomics.js";
import {
  LOCK_FREE,
  LOCK_HELD,
  LOCK_OWNER_SHIFT,
  LOCK_STATE_MASK,
  LOCK_WAITERS,
  RECORD_LOCK,
} from "../base/layout.js";
import { blockOf, type Memory, recordWord } from "../base/memory.js";
import type { Pfn } from "../base/units.js";
import { sleepWhile } from "./wait.js";

/** The word of a lock that this thread holds. */
function owned(memory: Memory, state: number): number {
  return ((memory.thread + 1) << LOCK_OWNER_SHIFT) | state;
}

/** Takes the lock if it is free. */
export function trylockPage(memory: Memory, pfn: Pfn): boolean {
  const { words } = blockOf(memory, pfn);
  const index = recordWord(memory, pfn) + RECORD_LOCK;
  // ORDER lock.try <-> lock.drop: sees all that the last holder did; else a sharer list is read half-linked.
  return casWord(words, index, LOCK_FREE, owned(memory, LOCK_HELD)) === LOCK_FREE;
}

/** Takes the lock, sleeping while another thread holds it. The caller holds no page lock. */
export function lockPage(memory: Memory, pfn: Pfn): void {
  if (trylockPage(memory, pfn)) return;
  const { words } = blockOf(memory, pfn);
  const index = recordWord(memory, pfn) + RECORD_LOCK;
  for (;;) {
    // ORDER lock.take <-> lock.drop: taken as WAITERS, because others may sleep beside us; taken as
    // HELD, our unlock would not wake them (LOCK-2).
    const seen = casWord(words, index, LOCK_FREE, owned(memory, LOCK_WAITERS));
    if (seen === LOCK_FREE) return;
    const marked = (seen & ~LOCK_STATE_MASK) | LOCK_WAITERS;
    // ORDER lock.mark <-> lock.drop: marked before sleeping, and asleep only while the mark
    // stands; else the unlock falls between and nobody wakes us.
    if (seen === marked || casWord(words, index, seen, marked) === seen) {
      sleepWhile(memory, words, index, marked);
    }
  }
}

/** Gives the lock back and wakes one sleeper. */
export function unlockPage(memory: Memory, pfn: Pfn): void {
  const { words } = blockOf(memory, pfn);
  const index = recordWord(memory, pfn) + RECORD_LOCK;
  // ORDER lock.drop <-> lock.take, lock.try, lock.mark, lock.look: what we did under the lock comes first.
  const before = exchangeWord(words, index, LOCK_FREE);
  assert(
    before >>> LOCK_OWNER_SHIFT === memory.thread + 1,
    "LOCK-1",
    "unlocked by another than its holder: frame, holder + 1",
    pfn,
    before >>> LOCK_OWNER_SHIFT,
  );
  if ((before & LOCK_STATE_MASK) !== LOCK_WAITERS) return;
  // ORDER lock.wake <-> slice.sleep: after the word is free; else the sleeper finds it held and sleeps on.
  notifyWord(words, index, 1);
}

/** Is the lock held by anybody? For check() and diagnosis. */
export function pageIsLocked(memory: Memory, pfn: Pfn): boolean {
  // ORDER lock.look <- lock.drop
  return loadWord(blockOf(memory, pfn).words, recordWord(memory, pfn) + RECORD_LOCK) !== LOCK_FREE;
}
