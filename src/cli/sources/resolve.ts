/**
 * resolve - from what the user named to what guests are filled with; bad input is found here, before
 * anything is loaded.
 */
import { closeSync, openSync, type Stats, statSync } from "node:fs";
import { basename } from "node:path";
import { PAGE_SIZE, pagesFor } from "../../base/units.js";
import { BadInput, reasonOf } from "../bad-input.js";
import { PID_PREFIX, processSource } from "./process/process-source.js";
import type { Source, SourceFile } from "./source.js";
import { parseSynth, SYNTH_PREFIX } from "./synth.js";

/** The sources in order, with a guest for each; no two have one name. */
export function resolveSources(specs: readonly string[]): Source[] {
  return specs.flatMap((spec) => {
    if (spec.startsWith(PID_PREFIX)) return [processSource(spec)];
    if (!spec.startsWith(SYNTH_PREFIX)) return [fileSource(spec)];
    const { data, guests } = parseSynth(spec);
    const bytes = data.pages * PAGE_SIZE;
    const guest = { source: spec, data, bytes, paddedBytes: 0, pages: data.pages };
    return Array.from({ length: guests }, () => ({ name: "synth", ...guest }));
  });
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
    const wrong = missing ? "there is no such file" : `cannot be looked at (${reason})`;
    throw new BadInput(path, wrong, "check the path");
  }
}

function kindOf(stats: Stats): string {
  if (stats.isFIFO()) return "a pipe";
  if (stats.isSocket()) return "a socket";
  return "a device";
}
