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
  /** null: ksmd never sleeps, so its batches have no size. */
  readonly pagesToScan: number | null;
  readonly sleepMillisecs: number;
  readonly verify: boolean;
  readonly json: boolean;
  readonly kernels: KernelImplementation | "auto";
  readonly hash: HashName | "auto";
}
