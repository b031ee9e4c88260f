/** summary - samples of several rounds, one figure each, made into a median and its spread. */

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly rounds: number;
}

export function summarize(samples: readonly number[]): Summary {
  if (samples.length === 0) throw new RangeError("a summary needs a sample");
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1
      ? (sorted[middle] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2;
  return {
    median,
    min: sorted[0] as number,
    max: sorted[sorted.length - 1] as number,
    rounds: sorted.length,
  };
}

export interface Limits {
  /** At most so many rounds. */
  readonly rounds: number;
  /** No further round begins that would probably end later; the first is always done. */
  readonly seconds: number;
}

/** Runs A B C A B C ...; each gets the number of its round. Returns how many rounds there were. */
export async function interleave(
  runners: readonly ((round: number) => void | Promise<void>)[],
  limits: Limits,
): Promise<number> {
  const started = performance.now();
  let longest = 0;
  for (let round = 0; round < limits.rounds; round++) {
    const begun = performance.now();
    if (round > 0 && begun - started + longest > limits.seconds * 1000) return round;
    for (const run of runners) await run(round);
    longest = Math.max(longest, performance.now() - begun);
  }
  return limits.rounds;
}
