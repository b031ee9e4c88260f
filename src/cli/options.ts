/**
 * options - what `pagefold run` was asked to do.
 */
import type { HashName, KernelImplementation, Knobs, Policy } from "../index.js";

export interface RunOptions {
  /** As the user wrote them; none: the memory of processes that pagefold starts. */
  readonly sources: readonly string[];
  readonly installation: boolean;
  readonly nodes: number;
  /** Bytes; null: what the sources need and an eighth. */
  readonly memoryPerNode: number | null;
  readonly migrators: number;
  /** What migrators do by themselves, and what is done when merging has settled; there are migrators for it. */
  readonly policies: readonly Policy[];
  readonly maxPageSharing: number;
  readonly mergeAcrossNodes: Knobs["mergeAcrossNodes"];
  /** null: until settled. */
  readonly passes: number | null;
  /** Merging ends after so long at the latest; null: no limit. */
  readonly seconds: number | null;
  /** Pages of a batch. */
  readonly pagesToScan: number;
  /** 0: flat out, and batches are as large as ksmd likes. */
  readonly sleepMillisecs: number;
  readonly verify: boolean;
  readonly json: boolean;
  /** File that gets what would go to standard output. */
  readonly output: string | null;
  readonly quiet: boolean;
  readonly kernels: KernelImplementation | "auto";
  readonly hash: HashName | "auto";
}
