/** case - a benchmark that can be chosen by name, and what it is given. */
import type { KernelPlace } from "./subjects/kernel.js";
import type { Finding } from "./table.js";

/** How much is measured, on this machine. */
export interface Plan {
  readonly quick: boolean;
  /** Pages that are folded. */
  readonly pages: number;
  /** Rounds at most, and seconds after which no further one begins, for each mix. */
  readonly rounds: number;
  readonly seconds: number;
  readonly kernel: KernelPlace;
  /** Why the kernel's KSM cannot be measured; null: it can. */
  readonly kernelRefused: string | null;
  /** The read roofline as WebAssembly. */
  readonly compileRoofline: () => Promise<Uint8Array>;
  /** Told what is being measured. */
  readonly tell: (what: string) => void;
}

export interface Case {
  readonly name: string;
  /** Whether this machine's own KSM takes part. */
  readonly usesKernel: boolean;
  run(plan: Plan): Promise<Finding>;
}
