/** machine - small memories for the kernel tests, filled and compared byte by byte. */
import {
  attachMemory,
  blockOf,
  createMemoryHandle,
  frameView,
  type Memory,
} from "../../src/base/memory.ts";
import type { Pfn } from "../../src/base/units.ts";
import { PAGE_SIZE } from "../../src/base/units.ts";
import type { KernelOptions } from "../../src/kernels/options.ts";
import { resolveKernels } from "../../src/kernels/options.ts";
import { prepareKernels } from "../../src/kernels/prepare.ts";

const FRAMES_SHIFT = 8;
export const FRAMES_PER_BLOCK = 1 << FRAMES_SHIFT;
const THREADS = 3;
/** Neither the first thread nor the last, so that a scratch out of bounds meets a neighbour's. */
export const THREAD = 1;
const BLOCKS = 3;

const SIZES = {
  framesPerBlockShift: FRAMES_SHIFT,
  blocks: BLOCKS,
  nodes: 1,
  shards: 1,
  threads: THREADS,
  guests: 1,
  vcpus: 1,
  slots: 512,
  stableNodes: 16,
};

/** A view of three blocks of 256 frames with the kernels of the options. */
export async function createMachine(options: KernelOptions): Promise<Memory> {
  const factory = await prepareKernels(resolveKernels(options));
  const handle = createMemoryHandle(
    SIZES,
    { polls: 1, scanMs: 1, faultMs: 1 },
    Array.from({ length: BLOCKS }, () => 0),
  );
  return attachMemory(handle, THREAD, (blocks, layout, shift) =>
    factory(blocks, layout, shift, THREAD),
  );
}

export function framePfn(block: number, index: number): Pfn {
  return (block << FRAMES_SHIFT) | index;
}

/** Copies bytes into a frame. */
export function fillFrame(memory: Memory, pfn: Pfn, bytes: Uint8Array): void {
  frameView(memory, pfn).set(bytes);
}

/** A private copy of a frame. */
export function frameBytes(memory: Memory, pfn: Pfn): Uint8Array {
  return frameView(memory, pfn).slice();
}

/** A page of pseudo-random bytes; the same number gives the same page. */
export function randomPage(seed: number): Uint8Array {
  const page = new Uint8Array(PAGE_SIZE);
  const words = new Uint32Array(page.buffer);
  let state = 2 * seed + 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = Math.imul(state, 0x9e3779b1);
  }
  return page;
}

/** Fills every frame with a page of its own. */
export function fillAll(memory: Memory): void {
  for (let block = 0; block < BLOCKS; block++) {
    for (let index = 0; index < FRAMES_PER_BLOCK; index++) {
      const pfn = framePfn(block, index);
      fillFrame(memory, pfn, randomPage(pfn + 1));
    }
  }
}

/** Copies of all blocks, to see later what was written. */
export function snapshot(memory: Memory): Uint8Array[] {
  return memory.blocks.map((_, number) => blockOf(memory, framePfn(number, 0)).bytes.slice());
}

/** Bytes of the block that differ from its snapshot. */
export function changedBytes(
  memory: Memory,
  before: readonly Uint8Array[],
  block: number,
): number[] {
  const now = blockOf(memory, framePfn(block, 0)).bytes;
  const changed: number[] = [];
  for (let i = 0; i < now.length; i++) if (now[i] !== before[block][i]) changed.push(i);
  return changed;
}
