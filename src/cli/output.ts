/**
 * output - where a result goes: standard output, or the file that --output names.
 */
import { accessSync, constants, readlinkSync, type Stats, statSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { BadInput, reasonOf } from "./bad-input.js";
import type { Source } from "./sources/source.js";

/** Refuses what cannot be written, before anything is done. Throws BadInput. */
export function checkWritable(flag: string, path: string): void {
  const thing = `${flag} ${path === "" ? '""' : path}`;
  if (path === "" || path.endsWith("/")) {
    throw new BadInput(thing, "is not the name of a file", "name a file");
  }
  let stats: Stats | undefined;
  try {
    stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) accessSync(dirname(targetOf(path)), constants.W_OK | constants.X_OK);
    else accessSync(path, constants.W_OK);
  } catch (error) {
    const wrong = `cannot be written (${reasonOf(error)})`;
    throw new BadInput(thing, wrong, "name a file in a folder that you may write to");
  }
  if (stats?.isDirectory()) throw new BadInput(thing, "is a directory", "name a file");
  // Opening a pipe waits for a reader, and nothing would hear a signal meanwhile.
  if (stats?.isFIFO() || stats?.isSocket()) {
    const mend = flag === "--output" ? "leave --output out, and write > there" : "name a file";
    throw new BadInput(thing, "is a pipe or a socket", mend);
  }
}

/** Where a link that leads nowhere yet would be made a file; any other path is its own. */
function targetOf(path: string): string {
  try {
    return resolve(dirname(path), readlinkSync(path));
  } catch {
    return path;
  }
}

/** Refuses a file that is a source, by whatever name. Throws BadInput. */
export function checkNoSource(path: string, sources: readonly Source[]): void {
  const files = sources.flatMap(({ data }) => (data.kind === "files" ? data.files : []));
  if (!files.some((file) => isSameFile(file.path, path))) return;
  const wrong = "is a source too, and would be overwritten";
  throw new BadInput(`--output ${path}`, wrong, "name another file");
}

function isSameFile(a: string, b: string): boolean {
  const [one, other] = [a, b].map((path) =>
    statSync(path, { bigint: true, throwIfNoEntry: false }),
  );
  if (one === undefined || other === undefined) return false;
  return one.dev === other.dev && one.ino === other.ino;
}

/** Writes the result. False: it could not be written to the file, and went to standard output instead. */
export function writeOutput(path: string | null, text: string): boolean {
  try {
    if (path !== null) writeFileSync(path, text);
    else process.stdout.write(text);
    return true;
  } catch {
    process.stdout.write(text);
    return false;
  }
}
