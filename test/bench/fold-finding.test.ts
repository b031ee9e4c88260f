/** What is made of the rounds of a mix: rates, ratios, void rows, floors. */
import { describe, expect, it } from "vitest";
import { findingOf, type Round } from "../../bench/cases/fold-finding.js";
import { MIXES } from "../../bench/mix.js";
import type { FoldTimes, PassName } from "../../bench/subjects/passes.js";
import { renderFloors, renderTable } from "../../bench/text.js";

const PAGES = 1_000_000;
const [, HALF] = MIXES;

function times(seconds: Partial<Record<PassName, number>>, hashed: number | null): FoldTimes {
  const passes: FoldTimes["passes"] = {};
  for (const [name, each] of Object.entries(seconds)) {
    passes[name as PassName] = { seconds: each, cpuSeconds: 2 * each, hashed };
  }
  return { passes, problems: [] };
}

/** Ours takes `first` and 0.75 s, the kernel 2 and 6, stock JavaScript 4. */
function round(first: number): Round {
  return {
    pagefold: times({ first, merging: 0.75 }, PAGES / 2),
    kernel: times({ first: 2, merging: 6 }, null),
    stock: times({ merging: 4 }, null),
  };
}

const spoiled = (of: FoldTimes): FoldTimes => ({ ...of, problems: ["a page is wrong"] });
const rowOf = (rounds: readonly Round[], name: string) =>
  findingOf(HALF, PAGES, rounds, null).table.rows.find((row) => row.name === name)?.cells ?? {};

describe("a phase", () => {
  it("has raw and effective rates, and ratios taken within each round", () => {
    const cells = rowOf([round(0.25), round(0.75), round(1.25)], "fill to merged");
    const rounds = 3;
    expect(cells.raw).toEqual({ median: 1e6 / 1.5, min: 5e5, max: 1e6, rounds });
    expect(cells.effective).toEqual({ median: 1e6 / 1.5, min: 5e5, max: 1e6, rounds });
    expect(cells.mib).toEqual({ median: 1e6 / 384, min: 5e5 / 256, max: 1e6 / 256, rounds });
    expect(cells.kernel).toEqual({ median: 125_000, min: 125_000, max: 125_000, rounds });
    expect(cells.kernelTimes).toEqual({ median: 8 / 1.5, min: 4, max: 8, rounds });
    expect(cells.stockTimes).toEqual({ median: 4 / 1.5, min: 2, max: 4, rounds });
  });

  it("has no raw rate when nothing was hashed", () => {
    const idle = { ...round(1), pagefold: times({ first: 1 }, 0) };
    expect(rowOf([idle], "first visit")).toMatchObject({ raw: "-", stock: "-", stockTimes: "-" });
  });

  it("has no kernel figures where the kernel was not measured", () => {
    const alone = { ...round(1), kernel: null };
    expect(rowOf([alone], "merging pass")).toMatchObject({ kernel: "-", kernelTimes: "-" });
  });

  it("has them from the rounds in which it was", () => {
    const { kernel } = rowOf([round(1), { ...round(1), kernel: null }], "merging pass");
    expect(kernel).toMatchObject({ median: PAGES / 6, rounds: 1 });
    const { table } = findingOf(HALF, PAGES, [round(1)], "it is taken");
    expect(table.notes).toContain("kernel KSM not measured in every round: it is taken");
  });
});

describe("what was not verified in any one round", () => {
  const bad = { ...round(1), pagefold: spoiled(round(1).pagefold) };
  const finding = findingOf(HALF, PAGES, [round(1), bad, round(1)], null);

  it("is void, and so is every ratio to it", () => {
    const { stock, kernel, ...ours } = rowOf([round(1), bad, round(1)], "merging pass");
    expect(new Set(Object.values(ours))).toEqual(new Set(["void"]));
    expect(stock).toMatchObject({ median: PAGES / 4 });
    expect(kernel).toMatchObject({ median: PAGES / 6 });
  });

  it("says why, and reaches no floor", () => {
    expect(finding.problems).toEqual(["fold/half: pagefold: a page is wrong"]);
    expect(finding.floors.map(({ measured }) => measured)).toEqual(["void", "void"]);
    expect(renderTable(finding.table)).toMatch(/\nmerging pass +void +void +void /);
    expect(renderFloors(finding.floors)).toMatch(/by time +void +4.00x$/m);
  });
});

describe("a floor", () => {
  it.each([
    [0.25, "8.00x", "met"],
    [1.25, "4.00x", "met"],
    [1.5, "3.56x", "MISSED"],
  ])("with a first pass of %d s is %s: %s", (first, shown, verdict) => {
    const { floors } = findingOf(HALF, PAGES, [round(first)], null);
    const line = renderFloors(floors).split("\n")[2];
    expect(line.split(/ {2,}/).slice(1)).toEqual([shown, "4.00x", verdict]);
  });
});
