/**
 * generated - what a generator writes is in the tree and fresh: each generator is run with `--check`.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Violation } from "./source.ts";

/** Scripts, relative to the root, that exit with 0 under `--check` if their output is fresh. */
export const GENERATORS = ["native-free-wasm/layout.mjs"];

export function exists(root: string, generator: string): boolean {
  return existsSync(join(root, generator));
}

export function staleOutput(root: string, generator: string): Violation[] {
  const run = spawnSync(process.execPath, [generator, "--check"], { cwd: root, encoding: "utf8" });
  if (run.status === 0) return [];
  const said = (run.stderr || run.stdout || run.error?.message || "").trim().split("\n")[0];
  const message = `its output is stale (exit ${run.status}): ${said}`;
  return [{ path: generator, line: 1, rule: "generated", message }];
}
