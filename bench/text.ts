/** text - what a run found, for people: 80 columns. */
import CliTable from "cli-table3";
import type { Document, Start } from "./document.js";
import { figure, spread } from "./format.js";
import { type Cell, type Column, type Floor, isFigure, NONE, type Table } from "./table.js";

const WIDTH = 80;
const GIB = 2 ** 30;

/** No borders: columns two spaces apart. */
const PLAIN = {
  chars: {
    ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
    ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
    ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "" },
    middle: "  ",
  },
  style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
};

const READING = `How to read it: pages/s in millions. raw = pages hashed a second. effective =
pages a second whose place is known again, hashed or not: what nobody wrote is not hashed again.
MiB/s = effective x 4 KiB. x = how many times as fast pagefold is, taken within each round. ± =
half the range of the rounds. CPU = of all threads of this process, and of the kernel's ksmd.
Compare figures of one run only: beside other work, all of them are others.`;

const PHASES = `Phases: first visit = pages are seen, none is merged yet. merging pass = the
second one. unchanged = a pass over what nobody wrote. 1 % dirty = a pass after one page in a
hundred was written. fill to merged = the first two, by a fresh engine. once more = the same
after everything was unmerged: ksmd's code is warm, and frames lie in no order. The kernel scans
without sleep, smart scan and huge pages; stock JavaScript (xxhash-wasm, Map, Buffer.compare)
does everything again each time.`;

const VERIFIED = `After each measurement of pagefold, with its workers and a vCPU of another
thread alive, every byte was read back and compared, and engine.check() was clean.`;

/** `kernel`: whether the kernel's KSM is to be measured, too. */
export function renderHeader({ machine, quick, kernelRefused }: Start, kernel: boolean): string {
  const { cpu, cores, system, load } = machine;
  const memory = `${(machine.memoryBytes / GIB).toFixed(1)} GiB`;
  const column =
    kernelRefused === null
      ? "kernel column: this machine's own KSM, given back with every knob as it was"
      : `no kernel column: ${kernelRefused}`;
  return [
    `pagefold bench${quick ? " --quick: shows that it works, its figures mean nothing" : ""}`,
    `${cpu}, ${cores} cores, ${memory}, ${system}, load ${load.toFixed(2)}`,
    `Node ${machine.node.slice(1)}, V8 ${machine.v8}, commit ${machine.commit ?? "unknown"}`,
    ...(kernel ? [wrapped(column)] : []),
  ].join("\n");
}

export function renderTable({ title, columns, rows, notes }: Table): string {
  const out = new CliTable(PLAIN);
  const right = (content: string) => ({ content, hAlign: "right" as const });
  if (columns.some(({ group }) => group !== "")) out.push(groupHeadings(columns));
  out.push(["", ...columns.map((column) => right(column.title))]);
  const texts = columns.map((column) =>
    columnTexts(
      column,
      rows.map((row) => row.cells[column.key]),
    ),
  );
  rows.forEach((row, i) => {
    out.push([row.name, ...texts.map((column) => right(column[i] as string))]);
  });
  return [title, ...linesOf(out), ...notes.map(wrapped)].join("\n");
}

function groupHeadings(columns: readonly Column[]) {
  const groups: { content: string; colSpan: number; hAlign: "right" }[] = [];
  for (const { group } of columns) {
    const last = groups[groups.length - 1];
    if (last?.content === group) last.colSpan++;
    else groups.push({ content: group, colSpan: 1, hAlign: "right" });
  }
  return ["", ...groups];
}

/** The cells of a column; spreads as wide as the widest, so that figures stand below each other. */
function columnTexts(column: Column, cells: readonly (Cell | undefined)[]): string[] {
  const spreads = cells.map((cell) => (column.spread && isFigure(cell) ? spread(cell) : ""));
  const width = Math.max(...spreads.map((each) => each.length));
  return cells.map((cell, i) => {
    const text = isFigure(cell) ? figure(cell.median, column.unit) : (cell ?? "");
    return width === 0 ? text : `${text} ${(spreads[i] as string).padStart(width)}`;
  });
}

export function renderFloors(floors: readonly Floor[]): string {
  const out = new CliTable(PLAIN);
  const right = (content: string) => ({ content, hAlign: "right" as const });
  out.push(["", right("measured"), right("floor"), ""]);
  for (const { name, unit, floor, measured } of floors) {
    const text = isFigure(measured)
      ? `${figure(measured.median, unit)} ${spread(measured)}`.trimEnd()
      : measured === NONE
        ? "not measured"
        : measured;
    out.push([name, right(text), right(figure(floor, unit)), verdict(floor, measured)]);
  }
  return ["floors", ...linesOf(out)].join("\n");
}

function verdict(floor: number, measured: Cell): string {
  if (!isFigure(measured)) return "";
  return measured.median >= floor ? "met" : "MISSED";
}

export function renderFooter(document: Document): string {
  const folds = document.tables.some(({ id }) => id.startsWith("fold/"));
  const problems = document.problems.map((problem) => wrapped(`VOID ${problem}`));
  const took = `Took ${document.seconds.toFixed(0)} s.`;
  const verified = wrapped(problems.length > 0 ? took : `${VERIFIED} ${took}`);
  const reading = folds ? [wrapped(READING), wrapped(PHASES)] : [];
  return [...reading, ...problems, verified].join("\n");
}

function linesOf(table: InstanceType<typeof CliTable>): string[] {
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd());
}

/** The text in lines of 80 columns. */
function wrapped(text: string): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].join("\n");
}
