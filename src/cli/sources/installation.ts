/**
 * installation - the files of this installation as sources: the Node executable, pagefold itself, and the
 * packages installed with it.
 */
import { accessSync, constants, type Dirent, existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { dependencies } from "../package.js";
import { filesSource } from "./resolve.js";
import type { Source, SourceFile } from "./source.js";

/** Packages that have less share a guest. */
const SMALL_BYTES = 2 ** 20;

/** The directory with package.json. */
const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

interface Installation {
  readonly sources: readonly Source[];
  readonly files: number;
  /** Files that may not be read. */
  readonly skipped: number;
}

/** A guest for Node, one for pagefold, one for each large package (or scope), and one for all the others. */
export function installationSources(): Installation {
  const found: SourceFile[][] = [];
  let skipped = 0;
  const take = (paths: readonly string[]): SourceFile[] => {
    const files = paths.map(fileAt);
    skipped += files.filter((file) => file === null).length;
    return files.filter((file) => file !== null).filter(({ bytes }) => bytes > 0);
  };
  const sources: Source[] = [];
  const add = (name: string, source: string, files: SourceFile[]): void => {
    if (files.length > 0) sources.push(filesSource(name, source, files));
    found.push(files);
  };
  add("node executable", process.execPath, take([process.execPath]));
  add("pagefold", join(ROOT, "dist"), take(filesBelow(join(ROOT, "dist"))));
  const { folder, names } = packages();
  const small: SourceFile[] = [];
  for (const name of names) {
    const files = take(filesBelow(join(folder, name)));
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    if (bytes < SMALL_BYTES) small.push(...files);
    else add(name, join(folder, name), files);
  }
  add("other packages", folder, small);
  return { sources, files: found.flat().length, skipped };
}

/** Where packages are, and which: all in a folder of our own, or our dependencies in the one we lie in. */
function packages(): { readonly folder: string; readonly names: readonly string[] } {
  const own = join(ROOT, "node_modules");
  if (existsSync(own)) {
    // What begins with a dot is no package: links to commands, caches of tools.
    const names = readdirSync(own).filter((name) => !name.startsWith("."));
    return { folder: own, names: names.sort() };
  }
  const folder = dirname(ROOT.endsWith(sep) ? ROOT.slice(0, -1) : ROOT);
  const names = basename(folder) === "node_modules" ? dependencies() : [];
  return { folder, names: names.filter((name) => existsSync(join(folder, name))) };
}

/** pagefold itself and the packages it needs, those of them that are beside it. */
export function packageFolders(): string[] {
  const { folder } = packages();
  const needed = dependencies().map((name) => join(folder, name));
  return [join(ROOT, "dist"), ...needed.filter((path) => existsSync(path))];
}

/** Regular files below a directory, in order of their paths; links are not followed. */
export function filesBelow(directory: string): string[] {
  let entries: Dirent[];
  try {
    entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  } catch {
    return [];
  }
  const files = entries.filter((entry) => entry.isFile());
  return files.map((entry) => join(entry.parentPath ?? entry.path, entry.name)).sort();
}

function fileAt(path: string): SourceFile | null {
  try {
    accessSync(path, constants.R_OK);
    return { path, bytes: statSync(path).size };
  } catch {
    return null;
  }
}
