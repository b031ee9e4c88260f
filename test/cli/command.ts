/**
 * command - runs the built `pagefold` as a user does, and what its documents must hold.
 */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect } from "vitest";
import type { RunDocument } from "../../dist/cli/document.js";

export const MAIN = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
export const PAGE = 4096;

export interface Result {
  /** Exit status; null when a signal ended the process. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Result>;
}

export function start(args: readonly string[], options: SpawnOptions = {}): Started {
  const stdio = ["ignore", "pipe", "pipe"] as const;
  const child = spawn(process.execPath, [MAIN, ...args], { ...options, stdio: [...stdio] });
  const texts = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    child[name]?.setEncoding("utf8").on("data", (text) => {
      texts[name] += text;
    });
  }
  const ended = new Promise<Result>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => resolve({ status, signal, ...texts }));
  });
  return { child, ended };
}

export function pagefold(args: readonly string[], options?: SpawnOptions): Promise<Result> {
  return start(args, options).ended;
}

/** A run with --json that must succeed and say nothing on stderr. */
export async function documentOf(args: readonly string[]): Promise<RunDocument> {
  const { status, stdout, stderr } = await pagefold(["run", "--json", ...args]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const document = JSON.parse(stdout) as RunDocument;
  expectSums(document);
  return document;
}

/** What holds for every document at a scan boundary. */
export function expectSums(document: RunDocument): void {
  const { counters, guests, histogram, frames, nodes } = document;
  const sum = (rows: readonly object[], key: string): number =>
    rows.reduce((total, row) => total + (row as Record<string, number>)[key], 0);
  const parts = ["pages_shared", "pages_sharing", "pages_unshared", "pages_volatile"] as const;
  for (const key of parts) {
    expect(`${key} ${sum(guests, key)}`).toBe(`${key} ${counters[key]}`);
  }
  const seen = counters.pages_shared + counters.pages_sharing + counters.pages_unshared;
  expect(sum(histogram, "pages")).toBe(seen);
  expect(document.pages).toBe(sum(guests, "pages"));
  expect(document.saved_bytes).toBe(counters.pages_sharing * PAGE);
  for (const key of [
    "saved_bytes",
    "saved_zero_bytes",
    "zero_pages",
    "unreadable_pages",
  ] as const) {
    expect(`${key} ${sum(guests, key)}`).toBe(`${key} ${document[key]}`);
  }
  expect(counters.ksm_ptes).toBe(counters.pages_shared + counters.pages_sharing);
  for (const { copies_min: min, copies_max: max, contents, pages } of histogram) {
    expect(max).toBe(2 * min - 1);
    expect(pages).toBeGreaterThanOrEqual(min * contents);
    expect(pages).toBeLessThanOrEqual(max * contents);
  }
  expect(frames.total).toBe(frames.used + frames.free);
  for (const key of ["total", "used", "free"] as const) {
    expect(sum(nodes, `frames_${key}`)).toBe(frames[key]);
  }
  expect(frames.used).toBe(document.pages - counters.pages_sharing);
}

const root = fs.mkdtempSync(join(os.tmpdir(), "pagefold-cli-"));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** A path for a file that is removed at the end. */
export function fresh(name: string): string {
  return join(fs.mkdtempSync(join(root, "d")), name);
}

export function fileOf(name: string, bytes: Uint8Array): string {
  const path = fresh(name);
  fs.writeFileSync(path, bytes);
  return path;
}

/** Pages of one byte each. */
export function pagesOf(...values: number[]): Buffer {
  return Buffer.concat(values.map((value) => Buffer.alloc(PAGE, value)));
}
