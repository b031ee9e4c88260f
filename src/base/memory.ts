/**
 * memory - one thread's view of the shared memories: what every protocol function takes first.
 *
 * All shared state is in `control` and `blocks`; a view holds no state of its own, so any thread can
 * build one from the handle (style practice 7). This is the only file that creates shared memory.
 */

import { PagefoldError } from "./errors.js";
import {
  type BlockLayout,
  blockLayout,
  type ControlLayout,
  controlLayout,
  RECORD_WORDS,
  type Sizes,
} from "./layout.js";
import type { PageKernels } from "./page-kernels.js";
import {
  type Nid,
  PAGE_SHIFT,
  PAGE_SIZE,
  type Pfn,
  type ThreadId,
  WASM_PAGE_SIZE,
  type WordIndex,
} from "./units.js";

/** A shared WebAssembly.Memory; named here because the library's types must not ask for the DOM's. */
export interface SharedMemory {
  readonly buffer: SharedArrayBuffer;
}

/** A block as this thread sees it. Views are made once: `memory.buffer` costs 20 ns a time. */
export interface Block {
  readonly nid: Nid;
  readonly memory: SharedMemory;
  readonly words: Int32Array;
  readonly bytes: Uint8Array;
}

/** How long this thread polls and sleeps for others before it gives up. */
export interface Patience {
  /** Polls of a vCPU word before sleeping on it (about 10 ns each). */
  readonly polls: number;
  /** Milliseconds ksmd waits for a vCPU before it skips the guest for this pass. */
  readonly scanMs: number;
  /** Milliseconds a fault waits for a sibling vCPU before it reports it. */
  readonly faultMs: number;
}

/** The view of one thread. */
export interface Memory {
  readonly sizes: Sizes;
  readonly layout: ControlLayout;
  readonly blockLayout: BlockLayout;
  readonly thread: ThreadId;
  readonly patience: Patience;
  readonly control: Int32Array;
  readonly wide: Float64Array;
  /** By block number; grows when blocks are added. */
  readonly blocks: Block[];
  readonly kernels: PageKernels;
  /** Private to the thread. */
  readonly guestMode: GuestMode;
}

/** Which vCPUs the thread runs, and whether it is in guest mode at this moment (mm/tlb.ts). */
export interface GuestMode {
  /** Outermost section first. */
  readonly sections: GuestModeVcpu[];
  /** False also while the thread has left them all to wait. */
  inside: boolean;
}

/** A vCPU of this thread, as far as leaving and re-entering guest mode goes. */
export interface GuestModeVcpu {
  leave(): void;
  enter(): void;
}

/** What another thread needs to build its own view: structured-cloneable. */
export interface MemoryHandle {
  readonly sizes: Sizes;
  readonly patience: Patience;
  readonly control: SharedMemory;
  readonly blocks: readonly { readonly nid: Nid; readonly memory: SharedMemory }[];
}

/** Creates the shared memories of an engine; `blockNodes[b]` is the node of block b. All words are 0. */
export function createMemoryHandle(
  sizes: Sizes,
  patience: Patience,
  blockNodes: readonly Nid[],
): MemoryHandle {
  const layout = controlLayout(sizes);
  const block = blockLayout(sizes.framesPerBlockShift, sizes.threads);
  return {
    sizes,
    patience,
    control: sharedMemory(layout.words * 4),
    blocks: blockNodes.map((nid) => ({ nid, memory: sharedMemory(block.bytes) })),
  };
}

/** A shared memory of fixed size; the operating system commits a page of it at first touch. */
function sharedMemory(bytes: number): SharedMemory {
  const pages = Math.ceil(bytes / WASM_PAGE_SIZE);
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  } catch (cause) {
    throw new PagefoldError(
      "PAGEFOLD_NO_MEMORY",
      `the system does not give this process ${bytes} bytes more of address space; make the engine smaller, ` +
        "or raise the limit",
      { bytes },
      { cause },
    );
  }
}

/** Builds the view of thread `thread`; `createKernels` gets the blocks of this view. */
export function attachMemory(
  handle: MemoryHandle,
  thread: ThreadId,
  createKernels: (blocks: readonly Block[], layout: BlockLayout, shift: number) => PageKernels,
): Memory {
  const { sizes } = handle;
  const layout = blockLayout(sizes.framesPerBlockShift, sizes.threads);
  const blocks = handle.blocks.map(({ nid, memory }) => ({
    nid,
    memory,
    words: new Int32Array(memory.buffer),
    bytes: new Uint8Array(memory.buffer),
  }));
  return {
    sizes,
    layout: controlLayout(sizes),
    blockLayout: layout,
    thread,
    patience: handle.patience,
    control: new Int32Array(handle.control.buffer),
    wide: new Float64Array(handle.control.buffer),
    blocks,
    kernels: createKernels(blocks, layout, sizes.framesPerBlockShift),
    guestMode: { sections: [], inside: false },
  };
}

/** Frames of all blocks of this view. */
export function totalFrames(memory: Memory): number {
  return memory.blocks.length << memory.sizes.framesPerBlockShift;
}

/** Is there a frame of this number? Whether it is free is another matter. */
export function isFrame(memory: Memory, pfn: number): boolean {
  return Number.isInteger(pfn) && pfn >= 0 && pfn < totalFrames(memory);
}

export function blockOf(memory: Memory, pfn: Pfn): Block {
  return memory.blocks[pfn >>> memory.sizes.framesPerBlockShift] as Block;
}

/** Node whose memory holds the frame. */
export function nodeOf(memory: Memory, pfn: Pfn): Nid {
  return blockOf(memory, pfn).nid;
}

/** Number of the frame within its block. */
export function frameInBlock(memory: Memory, pfn: Pfn): number {
  return pfn & (memory.blockLayout.frames - 1);
}

/** Index of the hot words of the frame's record in its block. */
export function recordWord(memory: Memory, pfn: Pfn): WordIndex {
  return memory.blockLayout.hot + frameInBlock(memory, pfn) * RECORD_WORDS;
}

/** Index of the cold word of the frame's record in its block. */
export function coldWord(memory: Memory, pfn: Pfn): WordIndex {
  return memory.blockLayout.cold + frameInBlock(memory, pfn);
}

/** Byte at which the frame's content begins in its block. */
export function frameByte(memory: Memory, pfn: Pfn): number {
  return memory.blockLayout.framesBytes + (frameInBlock(memory, pfn) << PAGE_SHIFT);
}

/** A view of the frame's 4,096 bytes. Allocates: not for hot paths. */
export function frameView(memory: Memory, pfn: Pfn): Uint8Array {
  const block = blockOf(memory, pfn);
  return new Uint8Array(block.memory.buffer, frameByte(memory, pfn), PAGE_SIZE);
}
