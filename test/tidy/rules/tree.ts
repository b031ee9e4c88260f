/**
 * tree - the real files: everything that is ours and is code.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { SourceFile } from "./source.ts";

const ROOTS = ["src", "test", "bench", "examples", "native-free-wasm"];
const KINDS = /\.(ts|mts|js|mjs)$/;
const SKIPPED = new Set(["node_modules", "dist", "build", "coverage"]);

function walk(root: string, path: string, files: SourceFile[]): void {
  for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
    const inner = `${path}/${entry.name}`;
    if (entry.name.startsWith(".") || SKIPPED.has(entry.name)) continue;
    if (entry.isDirectory()) walk(root, inner, files);
    else if (KINDS.test(entry.name)) {
      files.push({ path: inner, text: readFileSync(join(root, inner), "utf8") });
    }
  }
}

export function readTree(root: string): SourceFile[] {
  const files: SourceFile[] = [];
  const present = new Set(readdirSync(root));
  for (const each of ROOTS) if (present.has(each)) walk(root, each, files);
  return files.sort((a, b) => (a.path < b.path ? -1 : 1));
}
