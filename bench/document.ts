/** document - everything a run found, as `--json` writes it. */
import type { Machine } from "./machine.js";
import type { Floor, Table } from "./table.js";

/** What is known before anything is measured. */
export interface Start {
  readonly format: 1;
  readonly machine: Machine;
  readonly started: string;
  readonly quick: boolean;
  readonly filter: string | null;
  /** Why the kernel's KSM cannot be measured; null: it can. */
  readonly kernelRefused: string | null;
}

export interface Document extends Start {
  readonly seconds: number;
  readonly tables: readonly Table[];
  readonly floors: readonly Floor[];
  /** Why rows are void. */
  readonly problems: readonly string[];
}
