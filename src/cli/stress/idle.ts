/**
 * idle - who did nothing in a stress that was to keep everybody at work: then it has shown nothing.
 */
import { type Plan, ROUNDS_MIN } from "./plan.js";
import type { StressResult } from "./stress.js";

type Work = Pick<
  StressResult,
  "performance" | "counters" | "migrations" | "sharedMoves" | "steps" | "blocks"
>;

/** What was not done, a phrase each; empty: everybody had something to do. */
export function idleActors(work: Work): string[] {
  const { performance, counters, migrations, sharedMoves, steps, blocks } = work;
  const { knob_switches, unmerges } = steps;
  const works: readonly (readonly [done: number, what: string])[] = [
    [performance.idle === 0 ? 1 : 0, `${performance.idle} vCPUs wrote or read nothing`],
    [performance.pins, "no page was pinned"],
    [counters.pages_merged, "no page was merged"],
    [counters.cow_ksm, "no merged page was copied"],
    [migrations.succeeded, "no frame was moved"],
    [sharedMoves, "no frame of several merged pages was moved"],
    [knob_switches, "no knob was switched"],
    [unmerges.everything, "nothing was unmerged by run 2"],
    [unmerges.regions, "no region was unmerged"],
    [blocks.removed, "no block was removed"],
    [blocks.added, "no block was added"],
  ];
  return works.filter(([done]) => done === 0).map(([, what]) => what);
}

/**
 * Was a stress long enough for everybody to do something? One with a time comes to its end, unless it is interrupted;
 * one without is as good as the shortest of them after as many rounds.
 */
export function showsAll({ seconds }: Plan, interrupted: boolean, rounds: number): boolean {
  return seconds === 0 ? rounds >= ROUNDS_MIN : !interrupted;
}
