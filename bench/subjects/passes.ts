/** passes - what is timed of every folder of pages, in the order in which it is done. */

/**
 *   first      every page is seen for the first time (no page is merged in this pass, as in the kernel)
 *   merging    the second pass: everything is merged at its end
 *   unchanged  nothing was written in between
 *   dirty      one page in a hundred was written, and another hundredth before the pass before
 *   again...   first and merging once more, after everything was unmerged
 */
export type PassName = "first" | "merging" | "unchanged" | "dirty" | "againFirst" | "againMerging";

export interface PassTime {
  readonly seconds: number;
  /** Seconds on a processor; null: not known. */
  readonly cpuSeconds: number | null;
  /** Pages hashed; null: not known. */
  readonly hashed: number | null;
}

export interface FoldTimes {
  readonly passes: Partial<Record<PassName, PassTime>>;
  /** Why the times are void; empty: they count. */
  readonly problems: readonly string[];
}
