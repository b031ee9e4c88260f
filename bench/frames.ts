/** frames - this thread's own view of an engine's memory: for the benchmarks of single kernels. */

import { ptePfn } from "../dist/base/layout.js";
import type { Memory } from "../dist/base/memory.js";
import { NONE } from "../dist/base/units.js";
import type { EngineHandle } from "../dist/index.js";
import { attachHandle, releaseThread } from "../dist/machine/handle.js";
import { allocFrame, putPage } from "../dist/mm/frames.js";
import { guestBase, guestFamily, guestPages } from "../dist/mm/guest.js";
import { readPte } from "../dist/mm/pte.js";

/** Runs `body` as a thread of the engine. */
export async function withMemory<T>(
  handle: EngineHandle,
  body: (memory: Memory) => T | Promise<T>,
): Promise<T> {
  const memory = await attachHandle(handle);
  try {
    return await body(memory);
  } finally {
    releaseThread(memory);
  }
}

/** The frames of a guest whose pages all have one. */
export function framesOf(memory: Memory, guest: number): Int32Array {
  const base = guestBase(memory, guest);
  return Int32Array.from({ length: guestPages(memory, guest) }, (_, gfn) =>
    ptePfn(readPte(memory, base + gfn)),
  );
}

/** Runs `body` with `count` frames that nobody else has. */
export async function withFrames<T>(
  memory: Memory,
  guest: number,
  count: number,
  body: (pfns: Int32Array) => T | Promise<T>,
): Promise<T> {
  const pfns: number[] = [];
  try {
    while (pfns.length < count) {
      const pfn = allocFrame(memory, 0, guestFamily(memory, guest), 0);
      if (pfn === NONE)
        throw new Error(`the engine has ${pfns.length} of ${count} frames to spare`);
      pfns.push(pfn);
    }
    return await body(Int32Array.from(pfns));
  } finally {
    for (const pfn of pfns) putPage(memory, pfn);
  }
}
