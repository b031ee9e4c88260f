/**
 * find - everything a run is about: the sources that were named, the files of this installation, or, where
 * nothing was named, live processes that are started for it.
 */
import { isBadInput, reasonOf } from "../bad-input.js";
import { liveSources } from "../demo/live-sources.js";
import { WorkforceError } from "../demo/workforce.js";
import type { RunOptions } from "../options.js";
import type { ProgressView } from "../screen/progress.js";
import { installationSources } from "./installation.js";
import { withKeeping } from "./process/keeping.js";
import { closeMemories } from "./process/process-source.js";
import { resolveSources, withUniqueNames } from "./resolve.js";
import type { Resolved } from "./source.js";
import { isSystemError } from "./system-error.js";

/** No two sources have one name. */
export interface Found extends Resolved {
  /** Closes and ends what was opened and started for them; resolves when it has gone. */
  release(): Promise<void>;
}

/** Resolved sources, and how to end what was started for them. */
interface Running extends Resolved {
  stop(): Promise<void>;
}

/** Throws BadInput, and rejects when `signal` is aborted. */
export async function findSources(
  { sources: specs, installation, verify }: RunOptions,
  view: ProgressView,
  signal: AbortSignal,
): Promise<Found> {
  const isNamed = specs.length > 0 || installation;
  const { sources, notes, stop } = isNamed
    ? notRunning(await resolveSources(specs, view, signal), installation)
    : await liveOrFiles(view, signal);
  const kept = withKeeping(sources, verify);
  return {
    sources: withUniqueNames(kept.sources),
    notes: [...notes, ...kept.notes],
    release: () => {
      closeMemories(sources);
      return stop();
    },
  };
}

/** Sources for which nothing was started, and the files of this installation if they are asked for. */
function notRunning({ sources, notes }: Resolved, installation: boolean): Running {
  const files = installation ? installationSources() : { sources: [], notes: [] };
  return {
    sources: [...sources, ...files.sources],
    notes: [...notes, ...files.notes],
    stop: async () => {},
  };
}

/** Processes that are started here, or files where their memory cannot be had. */
async function liveOrFiles(view: ProgressView, signal: AbortSignal): Promise<Running> {
  if (process.platform !== "linux") return filesInstead("this is not Linux");
  try {
    return await liveSources(view, signal);
  } catch (error) {
    signal.throwIfAborted();
    if (isBadInput(error)) return filesInstead(error.message);
    if (error instanceof WorkforceError || isSystemError(error)) {
      return filesInstead(reasonOf(error));
    }
    throw error;
  }
}

function filesInstead(reason: string): Running {
  const note =
    "no source was named, and the memory of processes started for it cannot be had here " +
    `(${reason}): the files of this installation were folded instead`;
  return notRunning({ sources: [], notes: [note] }, true);
}
