/** examples/script.mjs: prints what the closed form says, in this tree and beside an installed package. */
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { EXAMPLES, node, type Result } from "./child.js";

const PAGE = 4096;
const GUESTS = 4;

/** Whatever lies in the image of this Node, four copies of it fold to its distinct pages. */
function expectFolded({ status, stdout, stderr }: Result): void {
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const image = readFileSync(process.execPath).subarray(0, 4 * 2 ** 20);
  const pages = image.length / PAGE;
  const distinct = new Set<string>();
  for (let at = 0; at < image.length; at += PAGE) {
    distinct.add(image.toString("latin1", at, at + PAGE));
  }
  const saved = GUESTS * pages - distinct.size;
  const lines = stdout.split("\n");
  expect(lines.slice(0, 4)).toEqual([
    `loaded: ${GUESTS * pages} frames, 0 saved, 0 copied`,
    `folded: ${distinct.size} frames, ${saved} saved, 0 copied`,
    'red reads "red was here", green the image: true',
    `written: ${distinct.size + 1} frames, ${saved - 1} saved, 1 copied`,
  ]);
  const cells = lines.map((line) => line.split(/[^\w']+/).slice(2, -1));
  const rows = cells.filter(([name]) => /^'\w+'$/.test(name ?? ""));
  expect(rows.map(([name, all]) => [name, all])).toEqual(
    ["'red'", "'green'", "'blue'", "'grey'"].map((name) => [name, String(pages)]),
  );
  const sharing = rows.map(([, , count]) => Number(count));
  expect(sharing.reduce((sum, count) => sum + count, 0)).toBe(saved - 1);
  expect(rows.map(([, , , bytes]) => Number(bytes))).toEqual(sharing.map((n) => n * PAGE));
  expect(lines.slice(-2)).toEqual(["check: clean", ""]);
}

it("folds four guests of one image", async () => {
  expectFolded(await node(join(EXAMPLES, "script.mjs")));
});

it("does so beside an installed package, too", async () => {
  const directory = mkdtempSync(join(tmpdir(), "pagefold-script-"));
  try {
    mkdirSync(join(directory, "node_modules"));
    symlinkSync(join(EXAMPLES, ".."), join(directory, "node_modules/pagefold"));
    copyFileSync(join(EXAMPLES, "script.mjs"), join(directory, "script.mjs"));
    expectFolded(await node(join(directory, "script.mjs")));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
