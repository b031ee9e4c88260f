/**
 * units - the vocabulary of pagefold, once.
 *
 * A *page* is 4 KiB of content at an address of a guest. A *frame* is 4 KiB of node memory. A page
 * becomes present when a pte maps it to a frame; merging maps several pages to one frame. The 64 KiB
 * unit in which WebAssembly memories grow is always written "wasm page".
 */

/** Number of a frame, unique over all nodes: `block << framesPerBlockShift | indexInBlock`. 24 bits. */
export type Pfn = number;
/** Number of a page within one guest. */
export type Gfn = number;
/** Number of a page over all guests: the index of its pte and of its rmap item. 24 bits. */
export type Slot = number;
/** Number of a node: one worker and the blocks that belong to it. */
export type Nid = number;
/** Number of a guest (address space). */
export type GuestId = number;
/** Number of a vCPU over all guests. */
export type VcpuId = number;
/** Number of a thread attached to the engine: main, node workers, ksmd, the embedder's own. */
export type ThreadId = number;
/** Number of a stable node (the record of one merged frame). */
export type StableId = number;
/** Index of an Int32 word in a shared memory. */
export type WordIndex = number;

export const PAGE_SHIFT = 12;
/** Bytes of a page and of a frame. */
export const PAGE_SIZE = 1 << PAGE_SHIFT;
export const PAGE_MASK = PAGE_SIZE - 1;
/** Int32 words of a page. */
export const PAGE_WORDS = PAGE_SIZE >>> 2;
/** Bytes of a wasm page. */
export const WASM_PAGE_SIZE = 65536;

/** "No such thing" for every kind of number above. */
export const NONE = -1;

/** Frames, pages of all guests and stable nodes are numbered in 24 bits. */
export const NUMBER_MAX = (1 << 24) - 1;

/** Pages needed to hold `bytes`. */
export function pagesFor(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE);
}
