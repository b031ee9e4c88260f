/**
 * Is a stale generator reported, and a fresh one not?
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { exists, staleOutput } from "./rules/generated.ts";
import { format } from "./rules/source.ts";

const root = mkdtempSync(join(tmpdir(), "tidy-"));

beforeAll(() => {
  const check = 'process.argv[2] === "--check"';
  writeFileSync(join(root, "fresh.mjs"), `process.exit(${check} ? 0 : 2);`);
  writeFileSync(
    join(root, "stale.mjs"),
    `if (${check}) { console.error("layout.gen.ts differs"); process.exit(1); }`,
  );
});

afterAll(() => {
  rmSync(root, { recursive: true });
});

it("reports a generator whose output is stale", () => {
  expect(staleOutput(root, "stale.mjs").map(format)).toEqual([
    "stale.mjs:1 generated: its output is stale (exit 1): layout.gen.ts differs",
  ]);
});

it("accepts a generator whose output is fresh", () => {
  expect(staleOutput(root, "fresh.mjs")).toEqual([]);
  expect(exists(root, "fresh.mjs")).toBe(true);
  expect(exists(root, "absent.mjs")).toBe(false);
});
