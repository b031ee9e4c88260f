/**
 * output - where a result goes: standard output, or the file that --output names.
 */
import { accessSync, constants, realpathSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { BadInput, reasonOf } from "./bad-input.js";
import type { Source } from "./sources/source.js";

/** Refuses a file that cannot be written, before anything is done. Throws BadInput. */
export function checkWritable(path: string): void {
  const thing = `--output ${path}`;
  let isDirectory: boolean;
  try {
    isDirectory = lookAt(path).isDirectory;
  } catch (error) {
    const wrong = `cannot be written (${reasonOf(error)})`;
    throw new BadInput(thing, wrong, "name a file in a folder that you may write to");
  }
  if (isDirectory) throw new BadInput(thing, "is a directory", "name a file");
}

/** Refuses a file that is a source. Throws BadInput. */
export function checkNoSource(path: string, sources: readonly Source[]): void {
  const files = sources.flatMap(({ data }) => (data.kind === "files" ? data.files : []));
  if (files.some((file) => isSameFile(file.path, path))) {
    const thing = `--output ${path}`;
    throw new BadInput(thing, "is a source too, and would be overwritten", "name another file");
  }
}

/** Throws what the operating system says. */
export function writeOutput(path: string | null, text: string): void {
  if (path === null) process.stdout.write(text);
  else writeFileSync(path, text);
}

/** Throws what the operating system says against writing there. */
function lookAt(path: string): { readonly isDirectory: boolean } {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isDirectory()) return { isDirectory: true };
  if (stats === undefined) accessSync(dirname(path), constants.W_OK | constants.X_OK);
  else accessSync(path, constants.W_OK);
  return { isDirectory: false };
}

function isSameFile(a: string, b: string): boolean {
  try {
    return realpathSync(a) === realpathSync(b);
  } catch {
    return false;
  }
}
