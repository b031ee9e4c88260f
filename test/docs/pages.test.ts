/** What README.md and docs/embedding.md show runs, and prints what they say; the table of errors is complete. */
import { describe, expect, it } from "vitest";
import { createEngine, ERROR_CODES } from "../../dist/index.js";
import { blocksOf, promisesOf, readPage, runBlock, saysSo } from "./blocks.mjs";

const GUIDE = readPage("docs/embedding.md");

/** Lines that a reader is asked to paste at most. */
const README_LINES = 15;

describe.each(["README.md", "docs/embedding.md"])("%s", (path) => {
  const blocks = blocksOf(readPage(path));
  const programs = blocks.filter(({ name }) => name === null);

  it.each(programs)("the program at line $line prints what it says", async (program) => {
    const { printed, stderr } = await runBlock(blocks, program);
    expect(stderr).toBe("");
    const promises = promisesOf(program);
    expect(printed).toHaveLength(promises.length);
    printed.forEach((line, i) => {
      expect(saysSo(promises[i] as string, line), `${line} // ${promises[i]}`).toBe(true);
    });
  });

  it("shows no file that no program uses", () => {
    for (const { name } of blocks) {
      if (name === null) continue;
      expect(programs.filter(({ code }) => code.includes(`./${name}`))).not.toEqual([]);
    }
  });
});

describe("README.md", () => {
  it(`shows how to embed the module in at most ${README_LINES} lines`, () => {
    const blocks = blocksOf(readPage("README.md"));
    expect(blocks.length).toBeGreaterThan(0);
    for (const { code } of blocks) {
      expect(code.split("\n").length - 1).toBeLessThanOrEqual(README_LINES);
    }
  });
});

describe("docs/embedding.md", () => {
  it("names every error code, with what it means and what to do, and no other", () => {
    const rows = [...GUIDE.matchAll(/^\| `([A-Z_]+)` \| (.+) \| (.+) \|$/gm)];
    const named = Object.fromEntries(rows.map(([, code, meaning]) => [code, meaning]));
    expect(named).toEqual(ERROR_CODES);
    expect(rows).toHaveLength(Object.keys(ERROR_CODES).length);
    for (const [, , , mend] of rows) expect(mend).toMatch(/\w.*\.$/);
  });

  it("names every knob with its default", async () => {
    const rows = [...GUIDE.matchAll(/^\| `(\w+)` \| `\w+` \| (\d+) \| .+ \|$/gm)];
    const engine = await createEngine({ workers: false });
    const named = Object.fromEntries(rows.map(([, knob, value]) => [knob, Number(value)]));
    expect(named).toEqual(engine.ksm.knobs);
    await engine.close();
  });
});

describe("the check of what is printed", () => {
  it("accepts the line itself or an explanation behind it, and nothing else", () => {
    expect(saysSo("510", "510")).toBe(true);
    expect(saysSo("510 of 512 pages", "510")).toBe(true);
    expect(saysSo("true, as before", "true")).toBe(true);
    for (const printed of ["51", "5100", "511", ""]) {
      expect(saysSo("510", printed)).toBe(false);
    }
    const page = "```js\nconsole.log(1);\nconsole.log(2); // 2\n```\n";
    expect(blocksOf(page).map(promisesOf)).toEqual([["2"]]);
  });
});
