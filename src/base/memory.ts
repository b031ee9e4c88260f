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
  /** By block number; null where there is none, or this thread has not been told of it yet. */
  readonly blocks: (Block | null)[];
  readonly kernels: PageKernels;
  /** Private to the thread. */
  readonly guestMode: GuestMode;
  /** How this thread hears of blocks that come and go, and asks for more. */
  readonly host: MemoryHost;
}

/** What mm asks of the thread's surroundings; without any (NO_HOST) blocks neither come nor go. */
export interface MemoryHost {
  /** The last change of blocks that this thread has taken part in. */
  readonly epoch: number;
  /** Takes part in all changes that it has been told of. Between mm operations, with no frame's number in hand. */
  takeChanges(): void;
  /**
   * Asks for a block more, of `node` if it can have one, and sleeps until that has been tried. False: there cannot
   * be more. The thread holds no page lock and is in no vCPU.
   */
  growMemory(node: Nid): boolean;
  /** The thread takes part in no change from here on. */
  leave(): void;
}

export const NO_HOST: MemoryHost = {
  epoch: 0,
  takeChanges: () => {},
  growMemory: () => false,
  leave: () => {},
};

/** Which vCPUs the thread runs, and whether it is in guest mode at this moment (mm/tlb.ts). */
export interface GuestMode {
  /** Outermost section first. */
  readonly sections: GuestModeVcpu[];
  /** All that the thread has open, in guest mode or not. */
  readonly vcpus: Set<GuestModeVcpu>;
  /** False also while the thread has left them all to wait. */
  inside: boolean;
}

/** A vCPU of this thread, as far as guest mode and blocks go. */
export interface GuestModeVcpu {
  leave(): void;
  enter(): void;
  /** Lets go of every view of the block; no translation of it is left. */
  forgetBlock(block: Block): void;
}

/** A block as it goes from thread to thread. */
export interface SharedBlock {
  readonly nid: Nid;
  readonly memory: SharedMemory;
}

/** What another thread needs to build its own view: structured-cloneable. */
export interface MemoryHandle {
  readonly sizes: Sizes;
  readonly patience: Patience;
  readonly control: SharedMemory;
  /** Those that are there from the start, by number. */
  readonly blocks: readonly SharedBlock[];
}

/** Creates the shared memories of an engine; `blockNodes[b]` is the node of block b. All words are 0. */
export function createMemoryHandle(
  sizes: Sizes,
  patience: Patience,
  blockNodes: readonly Nid[],
): MemoryHandle {
  return {
    sizes,
    patience,
    control: sharedMemory(controlLayout(sizes).words * 4),
    blocks: blockNodes.map((nid) => createBlock(sizes, nid)),
  };
}

/** Creates the memory of a block; all words are 0. */
export function createBlock(sizes: Sizes, nid: Nid): SharedBlock {
  const { bytes } = blockLayout(sizes.framesPerBlockShift, sizes.threads);
  return { nid, memory: sharedMemory(bytes) };
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

/** Words that threads share, all 0, of no engine. */
export function createSharedWords(words: number): Int32Array {
  return new Int32Array(sharedMemory(words * 4).buffer, 0, words);
}

/** Builds the view of thread `thread`; `createKernels` gets the blocks of this view. */
export function attachMemory(
  handle: MemoryHandle,
  thread: ThreadId,
  createKernels: (
    blocks: readonly (Block | null)[],
    layout: BlockLayout,
    shift: number,
  ) => PageKernels,
  host: MemoryHost = NO_HOST,
): Memory {
  const { sizes } = handle;
  const layout = blockLayout(sizes.framesPerBlockShift, sizes.threads);
  const blocks: (Block | null)[] = Array.from({ length: sizes.blocks }, (_, number) => {
    const shared = handle.blocks[number];
    return shared === undefined ? null : viewOf(shared);
  });
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
    guestMode: { sections: [], vcpus: new Set(), inside: false },
    host,
  };
}

function viewOf({ nid, memory }: SharedBlock): Block {
  const { buffer } = memory;
  return { nid, memory, words: new Int32Array(buffer), bytes: new Uint8Array(buffer) };
}

/** From now on this thread sees the block. */
export function attachBlock(memory: Memory, number: number, block: SharedBlock): void {
  memory.blocks[number] = viewOf(block);
}

/** Lets go of all that this thread has of the block; none of its frames is in use. */
export function detachBlock(memory: Memory, number: number): void {
  const block = memory.blocks[number];
  if (block === null || block === undefined) return;
  memory.blocks[number] = null;
  memory.kernels.forgetBlock(number);
  for (const vcpu of memory.guestMode.vcpus) vcpu.forgetBlock(block);
}

/** Numbers of frames are below this; not each of them has a block. */
export function framesEnd(memory: Memory): number {
  return memory.blocks.length << memory.sizes.framesPerBlockShift;
}

/** Is there a frame of this number? Whether it is free is another matter. */
export function isFrame(memory: Memory, pfn: number): boolean {
  const inRange = Number.isInteger(pfn) && pfn >= 0 && pfn < framesEnd(memory);
  return inRange && memory.blocks[pfn >>> memory.sizes.framesPerBlockShift] !== null;
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
