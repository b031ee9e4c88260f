/**
 * script-files - the JavaScript that the processes of the default run parse: pagefold's own, that of the
 * packages it needs, and that of the npm beside this Node.
 */
import { existsSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { filesBelow, packageFolders, readableFile } from "../sources/installation.js";

/** Bytes at most: enough to fill the processes, little enough to parse in seconds. */
const BYTES_MAX = 4 * 2 ** 20;
const EXTENSIONS = new Set([".js", ".mjs", ".cjs"]);

interface ScriptFiles {
  readonly paths: readonly string[];
  readonly bytes: number;
}

/** The same list wherever this version of pagefold is installed beside the same npm. */
export function scriptFiles(): ScriptFiles {
  const paths: string[] = [];
  let bytes = 0;
  for (const path of [...packageFolders(), ...npmFolders()].flatMap(filesBelow)) {
    if (!EXTENSIONS.has(extname(path))) continue;
    const file = readableFile(path);
    if (file === null || bytes + file.bytes > BYTES_MAX) continue;
    paths.push(path);
    bytes += file.bytes;
  }
  return { paths, bytes };
}

/** Where Node's own distribution puts npm, on Unix and on Windows. */
function npmFolders(): string[] {
  const beside = dirname(process.execPath);
  const folders = [join(dirname(beside), "lib"), beside];
  return folders
    .map((folder) => join(folder, "node_modules", "npm"))
    .filter((path) => existsSync(path));
}
