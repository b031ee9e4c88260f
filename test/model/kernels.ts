/** kernels - page kernels that look at the two cells of a page, one step each, so that torn pages exist. */
import type { Memory } from "../../src/base/memory.js";
import type { PageKernels } from "../../src/base/page-kernels.js";
import { explorer } from "./explorer.js";
import type { Production } from "./loader.js";

/** The two words of a page that models look at. */
export const CELLS = [0, 1023];

export function modelKernels(production: Production, memoryOf: () => Memory): PageKernels {
  const words = (pfn: number, cell: number) => {
    const memory = memoryOf();
    const index = (production.base.frameByte(memory, pfn) >>> 2) + (CELLS[cell] as number);
    return { words: production.base.blockOf(memory, pfn).words, index };
  };
  const load = (pfn: number, cell: number): number => {
    const at = words(pfn, cell);
    return explorer.operation(
      "kernelLoad",
      at.words,
      at.index,
      true,
      () => at.words[at.index] as number,
    );
  };
  const store = (pfn: number, cell: number, value: number): void => {
    const at = words(pfn, cell);
    explorer.operation("kernelStore", at.words, at.index, true, () => {
      explorer.write(at.words, at.index, value);
      return value;
    });
  };
  return {
    copyPage(target, source) {
      for (const cell of [0, 1]) store(target, cell, load(source, cell));
    },
    zeroPage(target) {
      for (const cell of [0, 1]) store(target, cell, 0);
    },
    equalPages(a, b) {
      return load(a, 0) === load(b, 0) && load(a, 1) === load(b, 1);
    },
    isZeroPage(pfn) {
      return load(pfn, 0) === 0 && load(pfn, 1) === 0;
    },
    hashPages(pfns, count, hashes) {
      for (let i = 0; i < count; i++) {
        hashes[2 * i] = load(pfns[i] as number, 0);
        hashes[2 * i + 1] = load(pfns[i] as number, 1);
      }
    },
    forgetBlock() {},
  };
}
