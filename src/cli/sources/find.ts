/**
 * find - everything a run is about: the sources that were named, the files of this installation, or, where
 * nothing was named, live processes that are started for it.
 */
import { PAGE_SIZE } from "../../base/units.js";
import { BadInput, reasonOf } from "../bad-input.js";
import { scriptFiles } from "../demo/script-files.js";
import { startWorkforce, type Workforce } from "../demo/workforce.js";
import type { RunOptions } from "../options.js";
import { count, size } from "../screen/figures.js";
import { installationSources } from "./installation.js";
import { PID_PREFIX, processSource } from "./process/process-source.js";
import { resolveSources, withUniqueNames } from "./resolve.js";
import type { Source } from "./source.js";

/** Processes that are started when no source is named. */
const PROCESSES = 4;
/** Private copies of processes take so much together at most; beyond, a digest of each page is kept. */
const COPIES_MAX = 2 ** 30;

export interface Found {
  readonly sources: readonly Source[];
  /** What is to be known of them, a sentence each. */
  readonly notes: readonly string[];
  /** Ends what was started for them; resolves when it has gone. */
  release(): Promise<void>;
}

/** Throws BadInput, and rejects when `signal` is aborted. */
export async function findSources(
  { sources: specs, installation }: RunOptions,
  signal: AbortSignal,
): Promise<Found> {
  if (specs.length === 0 && !installation) return await liveOrFiles(signal);
  const named = resolveSources(specs);
  const notes = named
    .filter(({ paddedBytes }) => paddedBytes > 0)
    .map(({ source, paddedBytes }) => `${source}: ${paddedBytes} zero bytes fill up its last page`);
  if (!installation) return found(named, notes);
  const files = installedFiles();
  return found([...named, ...files.sources], [...notes, ...files.notes]);
}

function found(
  sources: readonly Source[],
  notes: readonly string[],
  release: Found["release"] = async () => {},
): Found {
  const bytes = sources.reduce((sum, { data, pages }) => {
    return data.kind === "process" ? sum + pages * PAGE_SIZE : sum;
  }, 0);
  if (bytes <= COPIES_MAX) return { sources: withUniqueNames(sources), notes, release };
  const digested = sources.map((source): Source => {
    const { data } = source;
    return data.kind === "process" ? { ...source, data: { ...data, keeping: "sha256" } } : source;
  });
  const note =
    `${size(bytes)} of process memory are more than ${size(COPIES_MAX)}: ` +
    "a SHA-256 of each page is kept to compare with, not the page";
  return { sources: withUniqueNames(digested), notes: [...notes, note], release };
}

function installedFiles(): Pick<Found, "sources" | "notes"> {
  const { sources, files, skipped } = installationSources();
  const padded = sources.reduce((sum, { paddedBytes }) => sum + paddedBytes, 0);
  const about = "this installation";
  const notes = [`${about}: ${files} files, ${padded} zero bytes fill up their last pages`];
  if (skipped > 0) notes.push(`${about}: ${skipped} files may not be read and are left out`);
  return { sources, notes };
}

/** Processes that are started here, or files where their memory cannot be had. */
async function liveOrFiles(signal: AbortSignal): Promise<Found> {
  const { paths, bytes } = scriptFiles();
  let workforce: Workforce | null = null;
  try {
    if (process.platform !== "linux") throw new Error("this is not Linux");
    workforce = await startWorkforce(PROCESSES, { paths }, signal);
    const sources = workforce.pids.map((pid) => processSource(`${PID_PREFIX}${pid}`));
    const note =
      `no source was named: ${PROCESSES} Node processes were started, and each has parsed and compacted ` +
      `the same ${count(workforce.modules)} modules (${size(bytes)})`;
    const { stop } = workforce;
    return found(sources, [note], stop);
  } catch (error) {
    await workforce?.stop();
    signal.throwIfAborted();
    const { sources, notes } = installedFiles();
    const reason = error instanceof BadInput ? error.message : reasonOf(error);
    const note =
      "no source was named, and the memory of processes started for it cannot be had here " +
      `(${reason}): the files of this installation were folded instead`;
    return found(sources, [note, ...notes]);
  }
}
