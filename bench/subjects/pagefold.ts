/** pagefold - folds a mix with an engine of shipped defaults, whose ksmd scans when it is asked to. */
import type { Engine } from "../../dist/index.js";
import { counterProblem, type Mix, mergedCounters, PAGE } from "../mix.js";
import { withRig } from "../rig.js";
import type { FoldTimes, PassName, PassTime } from "./passes.js";

/** Unmerging needs frames beyond the pages': a merged frame is free when its last page has left it. */
export const HEADROOM = 9 / 8;

export async function foldByPagefold(mix: Mix, source: SharedArrayBuffer): Promise<FoldTimes> {
  const pages = source.byteLength / PAGE;
  const memoryPerNode = source.byteLength * HEADROOM;
  const passes: Partial<Record<PassName, PassTime>> = {};
  const { problems } = await withRig(source, { memoryPerNode }, async (rig, found) => {
    const { engine, dirty } = rig;
    const expected = mergedCounters(mix, pages);
    const merge = async (first: PassName, merging: PassName): Promise<void> => {
      passes[first] = await timePass(engine);
      passes[merging] = await timePass(engine);
      const problem = counterProblem(engine.stats().counters, expected);
      if (problem !== null) found.push(problem);
    };
    // It scans when asked, and the peer's ksmd does too: nothing is done before the clock runs.
    await engine.ksm.set({ run: 1, pagesToScan: 0 });
    await merge("first", "merging");
    passes.unchanged = await timePass(engine);
    await engine.ksm.set({ run: 2 });
    await engine.ksm.set({ run: 1 });
    await merge("againFirst", "againMerging");
    await dirty(0);
    await timePass(engine);
    await dirty(1);
    passes.dirty = await timePass(engine);
    await engine.ksm.set({ run: 0 });
  });
  return { passes, problems };
}

async function timePass(engine: Engine): Promise<PassTime> {
  const before = engine.stats().counters.pages_hashed;
  const cpu = process.cpuUsage();
  const started = performance.now();
  await engine.ksm.scan(1);
  const seconds = (performance.now() - started) / 1000;
  // Of all threads: V8's compilers and the vCPU's visits are in it.
  const { user, system } = process.cpuUsage(cpu);
  const hashed = engine.stats().counters.pages_hashed - before;
  return { seconds, cpuSeconds: (user + system) / 1e6, hashed };
}
