/**
 * Merging for a run: it ends, however the engine's messages fall.
 */
import { expect, it } from "vitest";
import { type Merged, merge } from "../../dist/cli/merging.js";
import type { RunOptions } from "../../dist/cli/options.js";
import { createEngine } from "../../dist/index.js";
import { PAGE } from "./command.js";

const FLAT_OUT = { passes: null, seconds: null, pagesToScan: 100, sleepMillisecs: 0 };

async function merged(pace: Partial<RunOptions>): Promise<Merged> {
  const engine = await createEngine({ memoryPerNode: 2 ** 20 });
  const found: Merged = {
    settled: false,
    first_pass_seconds: null,
    merge_pass_seconds: null,
    settle_seconds: null,
  };
  try {
    const guest = engine.createGuest({ bytes: 8 * PAGE });
    guest.fill(0, 8 * PAGE, 1);
    const options = { ...FLAT_OUT, ...pace } as RunOptions;
    await merge(engine, options, found, new AbortController().signal);
    expect(engine.stats().counters.pages_sharing).toBe(7);
  } finally {
    await engine.close();
  }
  return found;
}

// Asked to settle before it was told to run, ksmd refused, and passes went on for ever in a third of all runs.
it("settles, each of 20 times", async () => {
  for (let run = 0; run < 20; run++) expect((await merged({})).settled).toBe(true);
});

it("settles with pauses too", async () => {
  expect((await merged({ sleepMillisecs: 1 })).settled).toBe(true);
});
