/**
 * totals - what all migrations came to since the engine was created, by outcome.
 *
 * OWNS    the migration counters
 *
 * Each thread counts its own, so nothing is added atomically and nothing wraps; a reader sums the threads.
 */
import { plainLoadWide, plainStoreWide } from "../base/atomics.js";
import { MIGRATION_COUNTERS } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { ThreadId } from "../base/units.js";
import { OUTCOMES, type Tally } from "./batch.js";

function counters(memory: Memory, thread: ThreadId): number {
  return memory.layout.migrations + thread * MIGRATION_COUNTERS;
}

/** Adds what the calling thread has just done. */
export function addToTotals(memory: Memory, tally: Tally): void {
  const own = counters(memory, memory.thread);
  for (let outcome = 0; outcome < OUTCOMES; outcome++) {
    const before = plainLoadWide(memory.wide, own + outcome);
    plainStoreWide(memory.wide, own + outcome, before + (tally[outcome] as number));
  }
}

/** By outcome: frames, of all threads. Exact once those who moved them have said so. */
export function readTotals(memory: Memory): number[] {
  const totals: number[] = new Array(OUTCOMES).fill(0);
  for (let thread = 0; thread < memory.sizes.threads; thread++) {
    const own = counters(memory, thread);
    totals.forEach((total, outcome) => {
      totals[outcome] = total + plainLoadWide(memory.wide, own + outcome);
    });
  }
  return totals;
}
