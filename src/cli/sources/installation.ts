/**
 * installation - the files of this installation as sources: the Node executable, pagefold itself, and the
 * packages installed with it.
 */
import { accessSync, constants, type Dirent, existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { dependencies } from "../package.js";
import { counted } from "../screen/figures.js";
import { filesSource, zerosFill } from "./resolve.js";
import type { Resolved, Source, SourceFile } from "./source.js";

/** Packages that have less share a guest. */
const SMALL_BYTES = 2 ** 20;

/** The directory with package.json. */
const ROOT = fileURLToPath(new URL("../../..", import.meta.url));

/** A guest for Node, one for pagefold, one for each large package (or scope), and one for all the others. */
export function installationSources(): Resolved {
  let skipped = 0;
  const take = (paths: readonly string[]): SourceFile[] => {
    const files = paths.map(readableFile);
    skipped += files.filter((file) => file === null).length;
    return files.filter((file) => file !== null).filter(({ bytes }) => bytes > 0);
  };
  const { folder, names } = packages();
  const dist = join(ROOT, "dist");
  const guests = [
    { name: "node executable", source: process.execPath, files: take([process.execPath]) },
    { name: "pagefold", source: dist, files: take(filesBelow(dist)) },
  ];
  const small: SourceFile[] = [];
  for (const name of names) {
    const source = join(folder, name);
    const files = take(filesBelow(source));
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    if (bytes < SMALL_BYTES) small.push(...files);
    else guests.push({ name, source, files });
  }
  guests.push({ name: "other packages", source: folder, files: small });
  const sources = guests
    .filter(({ files }) => files.length > 0)
    .map(({ name, source, files }) => filesSource(name, source, files));
  const files = guests.reduce((sum, guest) => sum + guest.files.length, 0);
  return { sources, notes: notesOf(sources, files, skipped) };
}

function notesOf(sources: readonly Source[], files: number, skipped: number): string[] {
  const padded = sources.reduce((sum, { paddedBytes }) => sum + paddedBytes, 0);
  const about = "this installation";
  const notes = [`${about}: ${counted(files, "file")}, ${zerosFill(padded)} up their last pages`];
  if (skipped > 0) {
    const left = "may not be read, and left out";
    notes.push(`${about}: ${counted(skipped, `file that ${left}`, `files that ${left}`)}`);
  }
  return notes;
}

/** Where packages are, and which: all in a folder of our own, or our dependencies in the one we lie in. */
function packages(): { readonly folder: string; readonly names: readonly string[] } {
  const own = join(ROOT, "node_modules");
  if (existsSync(own)) {
    // What begins with a dot is no package: links to commands, caches of tools.
    const names = namesIn(own).filter((name) => !name.startsWith("."));
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

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** null for a file that may not be read, or has gone. */
export function readableFile(path: string): SourceFile | null {
  try {
    accessSync(path, constants.R_OK);
    return { path, bytes: statSync(path).size };
  } catch {
    return null;
  }
}
