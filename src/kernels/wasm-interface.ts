/**
 * wasm-interface - what the callers of the WebAssembly kernels and the kernels themselves agree on.
 * native-free-wasm/layout.mjs copies the numbers into the AssemblyScript sources.
 */

/** Which hash `hashBatch` computes. */
export const WASM_HASH_XXH3 = 0;
export const WASM_HASH_XXH64 = 1;

/** Pages whose lines are read in turn before they are hashed, when they are not in address order. */
export const TOUCH_GROUP = 16;

/** Exports of pagefold.simd.wasm and pagefold.scalar.wasm. Pages are given by their byte in the memory. */
export interface WasmKernelExports {
  /** Derives the secrets from the seed (low and high 32 bits). Once, before the first hash. */
  setSeed(low: number, high: number): void;
  /**
   * Hashes the `count` pages whose bytes the Int32 words from `list` on hold; the hash of page i goes
   * to the words 2i (low) and 2i + 1 (high) from `out` on. The result means nothing.
   */
  hashBatch(list: number, count: number, out: number, which: number): number;
  equalPages(a: number, b: number): number;
  isZeroPage(page: number): number;
  copyPage(target: number, source: number): void;
  zeroPage(target: number): void;
}
