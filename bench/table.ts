/** table - what a benchmark tells: figures in rows and columns, and the floors some of them must reach. */
import type { Summary } from "./summary.js";

export type Unit = "pages/s" | "MiB/s" | "ns" | "calls/s" | "times" | "percent" | "seconds";

export interface Column {
  readonly key: string;
  /** Whose figures these are; columns side by side may belong together. */
  readonly group: string;
  readonly title: string;
  readonly unit: Unit;
  /** Whether the spread of the rounds is shown beside the median. */
  readonly spread: boolean;
}

/** A figure, or the word that stands in its place. */
export type Cell = Summary | string;

/** There is nothing to measure, or it was left out on purpose. */
export const NONE = "-";
export const VOID = "void";

export interface Row {
  readonly name: string;
  readonly cells: Readonly<Record<string, Cell>>;
}

export interface Table {
  readonly id: string;
  readonly title: string;
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
  /** Sentences below the table. */
  readonly notes: readonly string[];
}

/** A ratio that is promised. */
export interface Floor {
  readonly name: string;
  readonly unit: "times" | "percent";
  readonly floor: number;
  readonly measured: Cell;
}

/** What one benchmark found. */
export interface Finding {
  readonly table: Table;
  readonly floors: readonly Floor[];
  /** Why rows are void. */
  readonly problems: readonly string[];
}

export function isFigure(cell: Cell | undefined): cell is Summary {
  return typeof cell === "object";
}
