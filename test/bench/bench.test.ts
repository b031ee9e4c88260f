/**
 * The benchmarks run: tiny, so that none of them rots. How fast anything is, is not asserted.
 *
 * They touch the kernel's KSM only where test/oracle may: with PAGEFOLD_KERNEL_KSM=1 or CI=true.
 */
import { spawnSync } from "node:child_process";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Document } from "../../bench/document.js";
import { linuxKsmUnavailable } from "../../bench/peers/linux-ksm.js";
import { interleave, type Summary, summarize } from "../../bench/summary.js";

const BENCH = fileURLToPath(new URL("../../bench/bench.mjs", import.meta.url));
const folder = fs.mkdtempSync(join(tmpdir(), "pagefold-bench-test-"));
afterAll(() => fs.rmSync(folder, { recursive: true }));

function bench(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [BENCH, ...args], {
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

const PHASES = [
  "first visit",
  "merging pass",
  "unchanged",
  "1 % dirty",
  "fill to merged",
  "once more",
];
const FOLDS = ["fold/unique", "fold/half", "fold/all"];

describe("a quick run", () => {
  const file = join(folder, "all.json");
  let run: ReturnType<typeof bench>;
  let document: Document;
  const cells = (table: string, row: string) => {
    const found = document.tables.find(({ id }) => id === table);
    return found?.rows.find(({ name }) => name === row)?.cells ?? {};
  };
  beforeAll(() => {
    run = bench("--quick", "--json", file);
    document = JSON.parse(fs.readFileSync(file, "utf8"));
  }, 60_000);

  it("succeeds, and no row is void", () => {
    expect(run.stderr).toBe("");
    expect(document.problems).toEqual([]);
    expect(run.status).toBe(0);
  });

  it("has every table", () => {
    const ids = document.tables.map(({ id }) => id);
    expect(ids).toEqual(["hash", ...FOLDS, "migrate", "micro"]);
  });

  it.each(FOLDS)("has every phase of %s, with pagefold's and stock JavaScript's rates", (fold) => {
    const figure = { median: expect.any(Number), min: expect.any(Number), max: expect.any(Number) };
    for (const phase of PHASES) {
      const { effective, mib, stock } = cells(fold, phase);
      expect(effective, phase).toMatchObject({ ...figure, rounds: 1 });
      expect(mib, phase).toMatchObject(figure);
      if (phase === "first visit") expect(stock).toBe("-");
      else expect(stock, phase).toMatchObject(figure);
    }
  });

  it.each(FOLDS)("tells pages hashed from pages known in %s", (fold) => {
    for (const phase of ["first visit", "unchanged"]) expect(cells(fold, phase).raw).toBe("-");
    const { raw, effective } = cells(fold, "merging pass");
    expect(raw).toEqual(effective);
  });

  it.each(["private frames", "KSM frames of 1 page", "KSM frames of 256 pages"])(
    "has the rates of migrating %s, beside the copy",
    (row) => {
      const figure = { median: expect.any(Number), rounds: 2 };
      const { frames, ptes, part } = cells("migrate", row);
      for (const cell of [frames, ptes, part]) expect(cell).toMatchObject(figure);
    },
  );

  it("has the rate at which blocks are taken away", () => {
    const figure = { median: expect.any(Number), rounds: 2 };
    expect(cells("migrate", "blocks taken away").mib).toMatchObject(figure);
  });

  it("has the kernel's figures, or the reason why there are none", () => {
    const reason = linuxKsmUnavailable();
    expect(document.kernelRefused).toBe(reason);
    for (const fold of FOLDS) {
      const measured = typeof cells(fold, "merging pass").kernel === "object";
      expect(measured).toBe(reason === null);
    }
    const said = run.stdout.replaceAll("\n", " ");
    if (reason === null) expect(said).toContain("kernel column: this machine's own KSM");
    else expect(said).toContain(`no kernel column: ${reason}`);
  });

  it("shows what must be reached beside what is", () => {
    const kernel = FOLDS.flatMap((fold) => {
      const name = `fill to merged, ${fold.slice(5)}: x kernel`;
      return [`${name}, by time`, `${name}, by CPU time`].map((each) => [each, 4]);
    });
    const floors = document.floors.map(({ name, floor }) => [name, floor]);
    expect(floors).toEqual([["hash in place / read roofline", 60], ...kernel]);
  });

  it("prints what it measured on, and everything it measured, in 80 columns", () => {
    expect(run.stdout).toContain(`Node ${process.version.slice(1)}, V8 ${process.versions.v8}`);
    for (const { title } of document.tables) expect(run.stdout).toContain(`\n${title}\n`);
    const tables = document.tables.flatMap(({ rows }) => rows);
    for (const { name } of tables) expect(run.stdout).toContain(`\n${name} `);
    expect(run.stdout.split("\n").filter((line) => [...line].length > 80)).toEqual([]);
  });
});

describe("options", () => {
  it("--filter chooses what is measured", () => {
    const file = join(folder, "half.json");
    const run = bench("--quick", "--filter", "half", "--json", file);
    expect(run.status).toBe(0);
    const document: Document = JSON.parse(fs.readFileSync(file, "utf8"));
    expect(document.tables.map(({ id }) => id)).toEqual(["fold/half"]);
    expect(document.filter).toBe("half");
  });

  it.each([
    [["--frob"], "bench: --frob: unknown option '--frob'; see npm run bench -- --help\n"],
    [["--json"], /^bench: --json: option '--json <file>' argument missing; see .*\n$/],
    [
      ["--json", folder],
      /^bench: --json .*: it cannot be written \(EISDIR\); name another file\n$/,
    ],
    [["x"], /^bench: x: too many arguments.*; see npm run bench -- --help\n$/],
    [
      ["--filter", "nought"],
      "bench: --filter nought: nothing has that name; " +
        "there is hash, fold/unique, fold/half, fold/all, migrate, micro\n",
    ],
  ])("%j is one line and status 2", (args, line) => {
    const { status, stdout, stderr } = bench(...args);
    expect(stdout).toBe("");
    if (typeof line === "string") expect(stderr).toBe(line);
    else expect(stderr).toMatch(line);
    expect(status).toBe(2);
  });
});

describe("rounds", () => {
  it("take turns", async () => {
    const order: string[] = [];
    const runners = ["a", "b"].map((name) => (round: number) => {
      order.push(`${name}${round}`);
    });
    expect(await interleave(runners, { rounds: 2, seconds: 60 })).toBe(2);
    expect(order).toEqual(["a0", "b0", "a1", "b1"]);
  });

  it("are one at least, however little time there is", async () => {
    expect(await interleave([() => {}], { rounds: 5, seconds: 0 })).toBe(1);
  });

  it.each<[number[], Summary]>([
    [[3], { median: 3, min: 3, max: 3, rounds: 1 }],
    [[9, 1, 2], { median: 2, min: 1, max: 9, rounds: 3 }],
    [[4, 1, 2, 9], { median: 3, min: 1, max: 9, rounds: 4 }],
  ])("%j are summarized", (samples, summary) => {
    expect(summarize(samples)).toEqual(summary);
  });
});
