/**
 * resolve - from what the user named to what guests are filled with; bad input is found here, before
 * anything is loaded.
 */
import { closeSync, existsSync, openSync, type Stats, statSync } from "node:fs";
import { basename } from "node:path";
import { PAGE_SIZE, pagesFor } from "../../base/units.js";
import { BadInput, isBadInput, reasonOf } from "../bad-input.js";
import { printable } from "../printable.js";
import { count, counted } from "../screen/figures.js";
import type { ProgressView } from "../screen/progress.js";
import { closeMemories, PID_PREFIX, processSource } from "./process/process-source.js";
import type { Resolved, Source, SourceFile } from "./source.js";
import { parseSynth, SYNTH_PREFIX } from "./synth.js";

/** Files whose padding is told of each. */
const PADDED_MAX = 3;

/**
 * The sources in order, with a guest for each; two may have one name. Closing what was opened for them is
 * owed: closeMemories. Throws BadInput, and when `signal` is aborted.
 */
export async function resolveSources(
  specs: readonly string[],
  view: ProgressView,
  signal: AbortSignal,
): Promise<Resolved> {
  const sources: Source[] = [];
  const notes: string[] = [];
  try {
    for (const spec of specs) {
      const found = await resolveSource(spec, view, signal);
      sources.push(...found.sources);
      notes.push(...found.notes);
    }
  } catch (error) {
    closeMemories(sources);
    throw error;
  }
  return { sources, notes: [...paddingNotes(sources), ...notes] };
}

async function resolveSource(
  spec: string,
  view: ProgressView,
  signal: AbortSignal,
): Promise<Resolved> {
  try {
    if (spec.startsWith(PID_PREFIX)) {
      view.begin(`looking at ${spec}`, 0);
      return await processSource(spec, signal);
    }
    if (spec.startsWith(SYNTH_PREFIX)) return { sources: synthSources(spec), notes: [] };
  } catch (error) {
    // A file may be called what sources of another kind are.
    if (isBadInput(error) && existsSync(spec)) {
      error.message += printable(`, or ./${spec} for the file of that name`);
    }
    throw error;
  }
  return { sources: [fileSource(spec)], notes: [] };
}

function synthSources(spec: string): Source[] {
  const { data, guests } = parseSynth(spec);
  const bytes = data.pages * PAGE_SIZE;
  const guest = { source: spec, data, bytes, paddedBytes: 0, pages: data.pages };
  return Array.from({ length: guests }, () => ({ name: "synth", ...guest }));
}

function paddingNotes(sources: readonly Source[]): string[] {
  const padded = sources.filter(({ paddedBytes }) => paddedBytes > 0);
  if (padded.length > PADDED_MAX) {
    const bytes = padded.reduce((sum, { paddedBytes }) => sum + paddedBytes, 0);
    return [`${count(padded.length)} sources: ${zerosFill(bytes)} up their last pages`];
  }
  return padded.map(
    ({ source, paddedBytes }) => `${source}: ${zerosFill(paddedBytes)} up its last page`,
  );
}

export function zerosFill(bytes: number): string {
  return counted(bytes, "zero byte fills", "zero bytes fill");
}

function fileSource(path: string): Source {
  return filesSource(basename(path), path, [{ path, bytes: readableBytes(path) }]);
}

/** A source of several files, each from the beginning of a page on. */
export function filesSource(name: string, source: string, files: readonly SourceFile[]): Source {
  const sum = (of: (bytes: number) => number): number =>
    files.reduce((total, { bytes }) => total + of(bytes), 0);
  const bytes = sum((each) => each);
  const pages = sum(pagesFor);
  const paddedBytes = pages * PAGE_SIZE - bytes;
  return { name, source, data: { kind: "files", files }, bytes, paddedBytes, pages };
}

/** The second guest of a name gets "#2" behind it, and so on, unless a source is called that. */
export function withUniqueNames(sources: readonly Source[]): Source[] {
  const given = new Set(sources.map(({ name }) => name));
  const uses = new Map<string, number>();
  return sources.map((source) => {
    const { name } = source;
    let n = (uses.get(name) ?? 0) + 1;
    while (n > 1 && given.has(`${name}#${n}`)) n++;
    uses.set(name, n);
    return n === 1 ? source : { ...source, name: `${name}#${n}` };
  });
}

/** Bytes of a regular file that may be read. */
function readableBytes(path: string): number {
  if (path === "") throw new BadInput('""', "is not the name of a file", "name a file");
  const stats = statOf(path);
  if (stats.isDirectory()) throw new BadInput(path, "is a directory", "name the files in it");
  if (!stats.isFile()) {
    const mend = "copy what it gives into a file, and name that";
    throw new BadInput(path, `is ${kindOf(stats)}, not a regular file`, mend);
  }
  if (stats.size === 0) throw new BadInput(path, "is empty", "name a file with at least one byte");
  try {
    closeSync(openSync(path, "r"));
  } catch (error) {
    const mend = "run as a user who may read it, or change its mode";
    throw new BadInput(path, `cannot be opened (${reasonOf(error)})`, mend);
  }
  return stats.size;
}

function statOf(path: string): Stats {
  try {
    return statSync(path);
  } catch (error) {
    const reason = reasonOf(error);
    const missing = reason === "ENOENT" || reason === "ENOTDIR";
    // What Node makes of bytes that are no text, and cannot turn back.
    if (missing && path.includes("\ufffd")) {
      const wrong = "there is no such file, or its name is not valid UTF-8 text";
      throw new BadInput(path, wrong, "check the path, or rename the file");
    }
    const wrong = missing ? "there is no such file" : `cannot be looked at (${reason})`;
    throw new BadInput(path, wrong, "check the path");
  }
}

function kindOf(stats: Stats): string {
  if (stats.isFIFO()) return "a pipe";
  if (stats.isSocket()) return "a socket";
  return "a device";
}
