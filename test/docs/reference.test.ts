/** docs/api.md is what the doc comments say; what is public and has none is an error of its generator. */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, describe, expect, it } from "vitest";
import { ROOT, readPage } from "./blocks.mjs";

const run = promisify(execFile);
const GENERATOR = "docs/reference/generate.mjs";

describe("docs/api.md", () => {
  it("is fresh", async () => {
    // From elsewhere: nothing of the folder it is made in may be in it.
    const result = await run(process.execPath, [join(ROOT, GENERATOR), "--check"], { cwd: "/" });
    expect(result).toEqual({ stdout: "", stderr: "" });
  });

  it("has no path, no date and no link out of it", () => {
    const page = readPage("docs/api.md");
    expect(page).not.toMatch(/\/(home|root|tmp|work|Users)\//);
    expect(page).not.toMatch(/\b20\d\d-\d\d/);
    const links = [...page.matchAll(/\]\(([^)]+)\)/g)].map((match) => match[1]);
    expect(links.filter((link) => !/^#|^embedding\.md$/.test(link as string))).toEqual([]);
  });

  it("has every export", async () => {
    const index = readPage("src/index.ts");
    const names = [...index.matchAll(/[{,]\s*(?:type )?(\w+)(?=\s*[,}])/g)].map(([, name]) => name);
    expect(names.length).toBeGreaterThan(25);
    const page = readPage("docs/api.md").replaceAll("\\", "");
    for (const name of names) expect(page).toMatch(new RegExp(`^### ${name}(\\(\\))?$`, "m"));
  });
});

describe("the generator", () => {
  const copy = fs.mkdtempSync(join(os.tmpdir(), "pagefold-reference-"));
  afterAll(() => fs.rmSync(copy, { recursive: true, force: true }));

  it("refuses what is public and says nothing of itself", async () => {
    for (const part of ["src", "docs/reference", "docs/api.md", "package.json", "tsconfig.json"]) {
      fs.cpSync(join(ROOT, part), join(copy, part), { recursive: true });
    }
    fs.symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
    const knobs = join(copy, "src/ksm/knobs.ts");
    const text = fs.readFileSync(knobs, "utf8");
    const bare = text.replace("/** `sleep_millisecs`: pause between batches. */", "");
    expect(bare).not.toBe(text);
    fs.writeFileSync(knobs, bare);
    const refused = run(process.execPath, [GENERATOR, "--check"], { cwd: copy });
    await expect(refused).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/Knobs\.sleepMillisecs .*does not have any documentation/),
    });
  });
});
