/** What makes a measurement of pagefold void: a byte that is wrong, an audit that is not clean. */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundle } from "../../bench/bundle.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
fs.mkdirSync(join(ROOT, ".pagefold"), { recursive: true });
const folder = fs.mkdtempSync(join(ROOT, ".pagefold", "rig-test-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

describe("a rig", () => {
  let found: Record<string, string[]>;
  beforeAll(async () => {
    await bundle(["test/bench/spoiled.ts", "bench/vcpu-worker.ts"], folder);
    const { stdout, stderr } = spawnSync(process.execPath, [join(folder, "spoiled.js")], {
      encoding: "utf8",
    });
    expect(stderr).toBe("");
    found = JSON.parse(stdout);
  });

  it("in which all is well has no problems", () => {
    expect(found.nothing).toEqual([]);
  });

  it("sees a single byte that is not what the vCPU wrote", () => {
    expect(found.bytes).toEqual(["1 pages are not as they were written"]);
  });

  it("sees a frame that nobody gave back", () => {
    expect(found.frames.length).toBeGreaterThan(0);
    for (const problem of found.frames) expect(problem).toMatch(/^check\(\): /);
  });
});
