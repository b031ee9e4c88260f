/**
 * wait - sleeping on a shared word for as long as the machine is whole.
 *
 * OWNS    engine.state
 *
 * Who sleeps for another thread's entry or lock would sleep for ever if that thread died. So a sleep is
 * cut into slices, and ends with an error once the supervisor has declared the machine broken.
 *
 * INVARIANTS
 *   WAIT-1  a sleep ends by a wake-up, or within a slice of the machine being declared broken.
 * ORDER   engine.break -> engine.look; slice.sleep <-> pte.wake, lock.wake, blocks.sound, round.end
 * MODEL   test/model/page-lock.test.ts
 */
import { loadWord, storeWord, waitWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import { ENGINE_BROKEN, ENGINE_STATE } from "../base/layout.js";
import type { Memory } from "../base/memory.js";

const SLICE_MS = 500;

/**
 * Sleeps while the word is `expected`. The caller carries the ORDER tag of the sleep. Wakes also for no
 * reason: read the word again.
 */
export function sleepWhile(
  memory: Memory,
  words: Int32Array,
  index: number,
  expected: number,
): void {
  // ORDER slice.sleep <-> pte.wake, lock.wake, drains.wake, blocks.sound, round.end: asleep only while the word is
  // what the
  // caller judged.
  if (!waitWord(words, index, expected, SLICE_MS)) checkWhole(memory);
}

/** Throws if the machine has been declared broken. */
function checkWhole(memory: Memory): void {
  // ORDER engine.look <- engine.break
  if (loadWord(memory.control, memory.layout.engine + ENGINE_STATE) !== ENGINE_BROKEN) return;
  throw new PagefoldError("PAGEFOLD_CRASHED", "a thread of the engine died; create a new engine");
}

/** Declares the machine broken: a thread died, perhaps in the middle of a protocol. */
export function breakMachine(memory: Memory): void {
  // ORDER engine.break -> engine.look: sleepers look once a slice; else they wait for the dead.
  storeWord(memory.control, memory.layout.engine + ENGINE_STATE, ENGINE_BROKEN);
}
