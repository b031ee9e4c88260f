/** view - a look into an engine's memory from a thread of its own: ptes, frames, a ksmd by hand. */

import { ptePfn } from "../../src/base/layout.js";
import { type Memory, nodeOf } from "../../src/base/memory.js";
import type { PageKernels } from "../../src/base/page-kernels.js";
import { PAGE_SIZE } from "../../src/base/units.js";
import type { Engine, ErrorCode } from "../../src/index.js";
import { SCAN_PASS_ENDED, scanBatch } from "../../src/ksm/scan.js";
import type { Shard } from "../../src/ksm/shard.js";
import { hashInTree } from "../../src/ksm/tree.js";
import { attachHandle } from "../../src/machine/handle.js";
import { guestBase } from "../../src/mm/guest.js";
import { readPte } from "../../src/mm/pte.js";

export const PAGE = PAGE_SIZE;
/** The smallest block. */
export const BLOCK = 64 * 1024;

export function viewOf(engine: Engine): Promise<Memory> {
  return attachHandle(engine.handle);
}

/** The pte of every page of every guest, in order. */
export function ptesOf(memory: Memory, engine: Engine): number[] {
  return engine.guests.flatMap(({ id, bytes }) =>
    Array.from({ length: bytes / PAGE }, (_, gfn) => readPte(memory, guestBase(memory, id) + gfn)),
  );
}

/** The frame of every page; -1: it has none. */
export function pfnsOf(memory: Memory, engine: Engine): number[] {
  return ptesOf(memory, engine).map((pte) => (pte === 0 ? -1 : ptePfn(pte)));
}

/** The same kernels, but every content has the same hash. */
export function withOneHash(kernels: PageKernels): PageKernels {
  return {
    copyPage: (target, source) => kernels.copyPage(target, source),
    zeroPage: (pfn) => kernels.zeroPage(pfn),
    equalPages: (a, b) => kernels.equalPages(a, b),
    isZeroPage: (pfn) => kernels.isZeroPage(pfn),
    hashPages: (_pfns, count, hashes) => {
      hashes.fill(7, 0, 2 * count);
    },
    forgetBlock: (block) => kernels.forgetBlock(block),
  };
}

/** One hash, written for its tree, is the same for every node: pages of all trees stand in one list. */
export function withOneList(memory: Memory): Memory {
  const kernels = withOneHash(memory.kernels);
  kernels.hashPages = (pfns, count, hashes) => {
    for (let i = 0; i < count; i++) {
      hashes[2 * i] = hashInTree(7, nodeOf(memory, pfns[i] as number));
      hashes[2 * i + 1] = 7;
    }
  };
  return { ...memory, kernels };
}

/** Full passes by hand. */
export function scanPasses(shard: Shard, passes: number): void {
  for (let pass = 0; pass < passes; pass++) {
    while (scanBatch(shard, 8192) !== SCAN_PASS_ENDED);
  }
}

/** The code of the error that the call throws; null: it did not throw. */
export function codeOf(call: () => unknown): ErrorCode | null {
  try {
    call();
    return null;
  } catch (error) {
    return (error as { code: ErrorCode }).code;
  }
}

/** A page whose bytes follow from the number. */
export function pageOf(number: number): Uint8Array {
  const page = new Uint8Array(PAGE);
  new Uint32Array(page.buffer).forEach((_, word, words) => {
    words[word] = Math.imul(number + 1, 0x9e3779b1) ^ Math.imul(word, 0x85ebca6b);
  });
  return page;
}
