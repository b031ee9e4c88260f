/**
 * options - what `pagefold run` was asked to do.
 */
import type { HashName, KernelImplementation } from "../index.js";

export interface RunOptions {
  /** As the user wrote them. */
  readonly sources: readonly string[];
  readonly installation: boolean;
  readonly nodes: number;
  readonly maxPageSharing: number;
  /** null: until settled. */
  readonly passes: number | null;
  /** Pages of a batch. */
  readonly pagesToScan: number;
  /** 0: flat out, and batches are as large as ksmd likes. */
  readonly sleepMillisecs: number;
  readonly verify: boolean;
  readonly json: boolean;
  readonly kernels: KernelImplementation | "auto";
  readonly hash: HashName | "auto";
}
