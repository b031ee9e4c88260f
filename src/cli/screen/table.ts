/**
 * table - columns of text side by side, without a border.
 */
import Table from "cli-table3";
import { width } from "./columns.js";

export interface Column {
  readonly head: string;
  readonly cells: readonly string[];
  readonly align: "left" | "right";
}

const GAP = "  ";
const RULE = { mid: "-", "mid-mid": "-".repeat(GAP.length) };
const BARE = {
  ...{ top: "", "top-left": "", "top-mid": "", "top-right": "" },
  ...{ mid: "", "left-mid": "", "mid-mid": "", "right-mid": "" },
  ...{ bottom: "", "bottom-left": "", "bottom-mid": "", "bottom-right": "" },
  ...{ left: "", middle: GAP, right: "" },
};

/** One column wide to whoever measures it, and in no text. */
const STAND_IN = "\uE000";
const STAND_INS = new RegExp(`${STAND_IN}+`, "g");

export function columnWidth({ head, cells }: Column): number {
  return Math.max(...[head, ...cells].map(width));
}

export function tableWidth(columns: readonly Column[]): number {
  const gaps = GAP.length * (columns.length - 1);
  return columns.reduce((sum, column) => sum + columnWidth(column), gaps);
}

/** The lines of a table. The rows of these numbers have a rule above; 0 is the row below the heads. */
export function renderTable(columns: readonly Column[], ruled: readonly number[] = []): string[] {
  const table = new Table({
    chars: BARE,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
    colAligns: columns.map(({ align }) => align),
    head: columns.map(({ head }) => head),
  });
  // cli-table3 measures as Unicode 12 did, and by the marks of few scripts: it places stand-ins.
  const hidden: string[] = [];
  const content = (text: string): string => {
    if (/^[ -~]*$/.test(text)) return text;
    hidden.push(text);
    return STAND_IN.repeat(width(text));
  };
  columns[0]?.cells.forEach((_, row) => {
    const chars = ruled.includes(row) ? RULE : {};
    table.push(columns.map(({ cells }) => ({ content: content(cells[row] ?? ""), chars })));
  });
  const shown = table.toString().replace(STAND_INS, () => hidden.shift() ?? "");
  return shown.split("\n").map((line) => line.trimEnd());
}
