/**
 * xxhash-wasm-kernels - the hash of the npm package xxhash-wasm (XXH64), which copies each page into a
 * memory of its own: the reference, and the stock way to do it.
 */
import createXxhash from "xxhash-wasm";
import { PAGE_SIZE } from "../base/units.js";
import type { HashPage } from "./plain-kernels.js";
import { fromWords, highWord, lowWord } from "./word64.js";

/** Loads the package's WebAssembly, hence a promise. */
export async function createXxhashWasm(seedLow: number, seedHigh: number): Promise<HashPage> {
  const { h64Raw } = await createXxhash();
  const seed = fromWords(seedLow, seedHigh);
  return (block, byte, out, at) => {
    const hash = h64Raw(block.bytes.subarray(byte, byte + PAGE_SIZE), seed);
    out[at] = lowWord(hash);
    out[at + 1] = highWord(hash);
  };
}
