/**
 * page-kernels - what mm and ksm ask of the kernels. Implementations live in src/kernels and are
 * injected, so the model tests can give kernels that work in several steps.
 *
 * No kernel takes a lock or orders anything: hash and compare run while guests may be writing, and
 * their result is advice until the caller has read the pte again (mm/pte.ts, D reservation).
 */
import type { Pfn } from "./units.js";

export interface PageKernels {
  /** Copies 4,096 bytes; the frames differ. */
  copyPage(target: Pfn, source: Pfn): void;
  /** Fills a frame with zeros. */
  zeroPage(target: Pfn): void;
  /** Are the 4,096 bytes of both frames equal? */
  equalPages(a: Pfn, b: Pfn): boolean;
  /** Are all 4,096 bytes zero? */
  isZeroPage(pfn: Pfn): boolean;
  /**
   * Hashes `count` frames in place, `pfns[i]` into `hashes[2 * i]` (low 32 bits) and
   * `hashes[2 * i + 1]` (high). Both arrays are private to the caller.
   */
  hashPages(pfns: Int32Array, count: number, hashes: Int32Array): void;
  /** The thread lets go of the block: nothing may refer to its memory any more. */
  forgetBlock(block: number): void;
}
