/**
 * live-sources - the memory of processes that are started for it, as sources.
 */
import { count, size } from "../screen/figures.js";
import type { ProgressView } from "../screen/progress.js";
import { PID_PREFIX } from "../sources/process/process-source.js";
import { resolveSources } from "../sources/resolve.js";
import type { Resolved } from "../sources/source.js";
import { scriptFiles } from "./script-files.js";
import { startWorkforce } from "./workforce.js";

const PROCESSES = 4;

interface LiveSources extends Resolved {
  /** Ends the processes; resolves when they have gone. */
  stop(): Promise<void>;
}

/** Rejects where there are no processes, or their memory cannot be read, and when `signal` is aborted. */
export async function liveSources(view: ProgressView, signal: AbortSignal): Promise<LiveSources> {
  view.begin("starting four Node processes", 0);
  const { paths, bytes } = scriptFiles();
  const { pids, modules, stop } = await startWorkforce(PROCESSES, { paths }, signal);
  try {
    const specs = pids.map((pid) => `${PID_PREFIX}${pid}`);
    const { sources } = await resolveSources(specs, view, signal);
    const note =
      `no source was named: ${PROCESSES} Node processes were started, and each has parsed and compacted ` +
      `the same ${count(modules)} modules (${size(bytes)})`;
    return { sources, notes: [note], stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
