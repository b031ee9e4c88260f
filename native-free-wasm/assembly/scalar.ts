// scalar - entry of pagefold.scalar.wasm: what src/kernels/wasm-interface.ts declares.
import { groupSize, pageAt, prepareGroup } from "./batch";
import { TOUCH_GROUP, WASM_HASH_XXH3 } from "./layout.gen";
import { setXxh3Seed, xxh3Page } from "./xxh3-scalar.gen";
import { setXxh64Seed, xxh64Page } from "./xxh64";

export { copyPage, zeroPage } from "./pages";
export { equalPages, isZeroPage } from "./pages-scalar";

export function setSeed(low: u32, high: u32): void {
  const seed = (<u64>high << 32) | <u64>low;
  setXxh3Seed(seed);
  setXxh64Seed(seed);
}

export function hashBatch(list: usize, count: u32, out: usize, which: u32): u32 {
  let touched: u32 = 0;
  for (let first: u32 = 0; first < count; first += TOUCH_GROUP) {
    const end = first + groupSize(first, count);
    touched += prepareGroup(list + (<usize>first << 2), end - first);
    for (let i = first; i < end; i++) {
      const page = pageAt(list, i);
      const hash = out + (<usize>i << 3);
      if (which == WASM_HASH_XXH3) xxh3Page(page, hash);
      else xxh64Page(page, hash);
    }
  }
  return touched;
}
