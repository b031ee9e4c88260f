/** benchmark-js - the one file that knows benchmark.js: times short operations that can be repeated. */
import Benchmark from "benchmark";
import { summarize } from "../summary.js";

export interface Effort {
  /** Seconds of one sample, at least. */
  readonly sampleSeconds: number;
  readonly samples: number;
}

/** Nanoseconds that a call of `body` takes: the median of the samples. */
export function nanosecondsPerCall(body: () => void, effort: Effort): number {
  const benchmark = new Benchmark(body, {
    minTime: effort.sampleSeconds,
    minSamples: effort.samples,
    // It ends as soon as there are so many samples.
    maxTime: 0,
  });
  benchmark.run({ async: false });
  if (benchmark.error) throw benchmark.error;
  return summarize(benchmark.stats.sample as number[]).median * 1e9;
}
