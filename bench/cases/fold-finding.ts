/** fold-finding - what the rounds of a mix come to: the table of its phases, and the floors. */
import { count } from "../format.js";
import { type Mix, PAGE } from "../mix.js";
import type { FoldTimes, PassName } from "../subjects/passes.js";
import { summarize } from "../summary.js";
import {
  type Cell,
  type Column,
  type Finding,
  type Floor,
  isFigure,
  NONE,
  type Row,
  VOID,
} from "../table.js";

const MIB = 2 ** 20;
/** Times as fast as the kernel from filled to merged, at least. */
const FLOOR = 4;

const COLUMNS: readonly Column[] = [
  { key: "raw", group: "pagefold", title: "raw", unit: "pages/s", spread: false },
  { key: "effective", group: "pagefold", title: "effective", unit: "pages/s", spread: true },
  { key: "mib", group: "pagefold", title: "MiB/s", unit: "MiB/s", spread: false },
  { key: "kernel", group: "kernel KSM", title: "pages/s", unit: "pages/s", spread: true },
  { key: "kernelTimes", group: "kernel KSM", title: "x", unit: "times", spread: false },
  { key: "stock", group: "stock JS", title: "pages/s", unit: "pages/s", spread: false },
  { key: "stockTimes", group: "stock JS", title: "x", unit: "times", spread: false },
];

interface Phase {
  readonly name: string;
  /** What pagefold does in it. */
  readonly passes: readonly PassName[];
  /** What the kernel does in it, where that is something else. */
  readonly kernel?: readonly PassName[];
  /** Stock JavaScript does the same each time, and nothing at a first visit. */
  readonly stock: boolean;
}

const FILL_TO_MERGED: Phase = {
  name: "fill to merged",
  passes: ["first", "merging"],
  stock: true,
};

const PHASES: readonly Phase[] = [
  { name: "first visit", passes: ["first"], stock: false },
  { name: "merging pass", passes: ["merging"], stock: true },
  { name: "unchanged", passes: ["unchanged"], stock: true },
  { name: "1 % dirty", passes: ["dirty"], stock: true },
  FILL_TO_MERGED,
  {
    name: "once more",
    passes: ["againFirst", "againMerging"],
    kernel: ["first", "merging"],
    stock: true,
  },
];

export interface Round {
  readonly pagefold: FoldTimes;
  readonly kernel: FoldTimes | null;
  readonly stock: FoldTimes;
}

/** `dropped`: why the kernel is not in every round. */
export function findingOf(
  mix: Mix,
  pages: number,
  rounds: readonly Round[],
  dropped: string | null,
): Finding {
  const problems = problemsOf(mix, rounds);
  const figures = new Figures(pages, rounds);
  const size = `${count(pages)} pages (${count((pages * PAGE) / MIB)} MiB)`;
  return {
    table: {
      id: `fold/${mix.name}`,
      title: `${mix.name}: ${size}, ${mix.title}; rounds: ${rounds.length}`,
      columns: COLUMNS,
      rows: PHASES.map((phase) => figures.row(phase)),
      notes: [
        ...figures.notes(),
        ...(dropped === null ? [] : [`kernel KSM not measured in every round: ${dropped}`]),
      ],
    },
    floors: figures.floors(mix),
    problems,
  };
}

function problemsOf(mix: Mix, rounds: readonly Round[]): string[] {
  const problems = new Set<string>();
  for (const round of rounds) {
    for (const name of ["pagefold", "kernel", "stock"] as const) {
      const found = round[name]?.problems ?? [];
      for (const problem of found) problems.add(`fold/${mix.name}: ${name}: ${problem}`);
    }
  }
  return [...problems];
}

type Clock = "seconds" | "cpuSeconds";

/** Seconds that the passes took together; null: not known of all. */
function secondsOf(
  times: FoldTimes | null,
  passes: readonly PassName[],
  clock: Clock = "seconds",
): number | null {
  let sum = 0;
  for (const name of passes) {
    const seconds = times?.passes[name]?.[clock];
    if (seconds === undefined || seconds === null) return null;
    sum += seconds;
  }
  return sum;
}

/** Makes cells of rounds. */
class Figures {
  constructor(
    private readonly pages: number,
    private readonly rounds: readonly Round[],
  ) {}

  row(phase: Phase): Row {
    const { pages } = this;
    const ours = (round: Round) => secondsOf(round.pagefold, phase.passes);
    const kernel = (round: Round) => secondsOf(round.kernel, phase.kernel ?? phase.passes);
    const stock = (round: Round) => (phase.stock ? secondsOf(round.stock, ["merging"]) : null);
    const rate = (seconds: number | null, unit = 1) => divide(pages * unit, seconds);
    return {
      name: phase.name,
      cells: {
        raw: this.cell(["pagefold"], (round) => rawRate(round, phase.passes)),
        effective: this.cell(["pagefold"], (round) => rate(ours(round))),
        mib: this.cell(["pagefold"], (round) => rate(ours(round), PAGE / MIB)),
        kernel: this.cell(["kernel"], (round) => rate(kernel(round))),
        kernelTimes: this.cell(["pagefold", "kernel"], (round) =>
          divide(kernel(round), ours(round)),
        ),
        stock: this.cell(["stock"], (round) => rate(stock(round))),
        stockTimes: this.cell(["pagefold", "stock"], (round) => divide(stock(round), ours(round))),
      },
    };
  }

  floors(mix: Mix): Floor[] {
    const { passes } = FILL_TO_MERGED;
    const times = (clock: Clock): Cell =>
      this.cell(["pagefold", "kernel"], (round) =>
        divide(secondsOf(round.kernel, passes, clock), secondsOf(round.pagefold, passes, clock)),
      );
    const name = `fill to merged, ${mix.name}: x kernel`;
    return [
      { name: `${name}, by time`, unit: "times", floor: FLOOR, measured: times("seconds") },
      { name: `${name}, by CPU time`, unit: "times", floor: FLOOR, measured: times("cpuSeconds") },
    ];
  }

  notes(): string[] {
    const { passes } = FILL_TO_MERGED;
    const took = (subject: "pagefold" | "kernel"): string => {
      const [wall, cpu] = (["seconds", "cpuSeconds"] as const).map((clock) => {
        const cell = this.cell([subject], (round) => secondsOf(round[subject], passes, clock));
        return isFigure(cell) ? `${cell.median.toFixed(3)} s` : cell;
      });
      return `${subject} ${wall} (CPU ${cpu})`;
    };
    const subjects = this.rounds.some(({ kernel }) => kernel !== null)
      ? (["pagefold", "kernel"] as const)
      : (["pagefold"] as const);
    return [`fill to merged: ${subjects.map(took).join(", ")}`];
  }

  /** The figure over all rounds that have it; void if one of the `subjects` went wrong in any round. */
  private cell(subjects: readonly (keyof Round)[], figure: (round: Round) => number | null): Cell {
    const wrong = (name: keyof Round) =>
      this.rounds.some((round) => (round[name]?.problems.length ?? 0) > 0);
    if (subjects.some(wrong)) return VOID;
    const samples = this.rounds.map(figure).filter((sample) => sample !== null);
    return samples.length === 0 ? NONE : summarize(samples);
  }
}

/** Pages hashed a second; null: none were. */
function rawRate(round: Round, passes: readonly PassName[]): number | null {
  let hashed = 0;
  for (const name of passes) hashed += round.pagefold.passes[name]?.hashed ?? 0;
  const seconds = secondsOf(round.pagefold, passes);
  return hashed === 0 || seconds === null ? null : hashed / seconds;
}

function divide(a: number | null, b: number | null): number | null {
  return a === null || b === null ? null : a / b;
}
