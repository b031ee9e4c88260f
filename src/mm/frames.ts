/**
 * frames - the free frames of each node: one bit a frame, in its block.
 *
 * OWNS    block.freeBitmap, block.freeCount, block.freeHint
 *
 * A frame is taken by clearing its bit and freed by setting it: no list, so no ABA, nothing private to a
 * thread that could die with it, and frames come in address order, which is what the hash likes best.
 * "Free" is decided by the bit alone, never by ref == 0: a frame in an allocator's hand has that too.
 *
 * INVARIANTS
 *   FREE-1  bit set => ref 0, mapping NOBODY, mapped by no pte, in no limbo list.
 *   FREE-2  freeCount equals the bits set at any quiet moment; in between it is a hint.
 * ORDER   free.take <-> free.give
 * MODEL   test/model/page-ref.test.ts
 * LINUX   the buddy allocator's order-0 lists; here bitmaps, because frames never merge into larger ones.
 */
import {
  casWord,
  countWord,
  loadWord,
  orWord,
  plainStore,
  racyLoad,
  racyStore,
} from "../base/atomics.js";
import { type Block, blockOf, frameInBlock, type Memory, totalFrames } from "../base/memory.js";
import { type Gfn, type GuestId, type Nid, NONE, type Pfn } from "../base/units.js";
import { clearMapping, ownFrame } from "./page-mapping.js";
import { dropPage, publishPage } from "./page-ref.js";

/** Beside the count, in its line: the bitmap word where the last frame was found. */
const HINT = 1;

/** Marks every frame of block `number` free; once, before anybody else sees the block. */
export function initBlock(memory: Memory, number: number): void {
  const { words } = memory.blocks[number] as Block;
  const { frames, freeBitmap, freeWords, freeCount } = memory.blockLayout;
  for (let word = 0; word < freeWords; word++) {
    const bits = Math.min(32, frames - word * 32);
    plainStore(words, freeBitmap + word, bits === 32 ? -1 : (1 << bits) - 1);
  }
  plainStore(words, freeCount, frames);
}

/**
 * Takes a free frame, of `node` if it has one, zeroed or not as it happens to be, with one reference
 * (the caller's), owned by `family`, to be mapped at `gfn`. NONE: no node has one.
 */
export function allocFrame(memory: Memory, node: Nid, family: GuestId, gfn: Gfn): Pfn {
  let pfn = takeFrom(memory, node, true, true);
  if (pfn === NONE) pfn = takeFrom(memory, node, false, true);
  // The counts lag behind the bits: only a look at every bit may say that there is none.
  if (pfn === NONE) pfn = takeFrom(memory, node, true, false);
  if (pfn === NONE) pfn = takeFrom(memory, node, false, false);
  return handOut(memory, pfn, family, gfn);
}

/** The same, but of `node` or not at all. */
export function allocFrameOn(memory: Memory, node: Nid, family: GuestId, gfn: Gfn): Pfn {
  const counted = takeFrom(memory, node, true, true);
  const pfn = counted === NONE ? takeFrom(memory, node, true, false) : counted;
  return handOut(memory, pfn, family, gfn);
}

/** Gives a frame just taken its owner and its first holder. */
function handOut(memory: Memory, pfn: Pfn, family: GuestId, gfn: Gfn): Pfn {
  if (pfn === NONE) return NONE;
  ownFrame(memory, pfn, family, gfn);
  publishPage(memory, pfn);
  return pfn;
}

function takeFrom(memory: Memory, node: Nid, ofNode: boolean, trustCount: boolean): Pfn {
  for (let number = 0; number < memory.blocks.length; number++) {
    const block = memory.blocks[number] as Block;
    if ((block.nid === node) !== ofNode) continue;
    // RACY: a stale count hides a frame, or costs a look; the last round does not trust it.
    if (trustCount && racyLoad(block.words, memory.blockLayout.freeCount) <= 0) continue;
    const index = takeFromBlock(memory, block);
    if (index !== NONE) return (number << memory.sizes.framesPerBlockShift) | index;
  }
  return NONE;
}

function takeFromBlock(memory: Memory, block: Block): number {
  const { freeBitmap, freeWords, freeCount } = memory.blockLayout;
  const { words } = block;
  // RACY: any word of the bitmap is a good place to begin.
  const hint = racyLoad(words, freeCount + HINT) % freeWords;
  for (let step = 0; step < freeWords; step++) {
    const word = (hint + step) % freeWords;
    for (;;) {
      // ORDER free.take <-> free.give: whoever clears the bit has the frame; all that its last holder did comes first.
      const bits = loadWord(words, freeBitmap + word);
      if (bits === 0) break;
      const bit = bits & -bits;
      if (casWord(words, freeBitmap + word, bits, bits & ~bit) !== bits) continue;
      countWord(words, freeCount, -1);
      // RACY: as above.
      if (step !== 0) racyStore(words, freeCount + HINT, word);
      return word * 32 + (31 - Math.clz32(bit));
    }
  }
  return NONE;
}

/** Drops a reference, and frees the frame if it was the last. */
export function putPage(memory: Memory, pfn: Pfn): void {
  if (dropPage(memory, pfn)) freeFrame(memory, pfn);
}

/** Frees a frame that nobody holds (ref 0, no mapping). */
export function freeFrame(memory: Memory, pfn: Pfn): void {
  const { words } = blockOf(memory, pfn);
  const { freeBitmap, freeCount } = memory.blockLayout;
  const index = frameInBlock(memory, pfn);
  clearMapping(memory, pfn);
  // ORDER free.give <-> free.take, free.look: ref 0 and mapping NOBODY first; else its next owner has them overwritten.
  orWord(words, freeBitmap + (index >>> 5), 1 << (index & 31));
  countWord(words, freeCount, 1);
}

/** Is the frame's bit set? Exact at a quiet moment. */
export function frameIsFree(memory: Memory, pfn: Pfn): boolean {
  const index = frameInBlock(memory, pfn);
  // ORDER free.look <- free.give
  const bits = loadWord(blockOf(memory, pfn).words, memory.blockLayout.freeBitmap + (index >>> 5));
  return (bits & (1 << (index & 31))) !== 0;
}

/** Free frames of a node, or of all (NONE). A snapshot: exact at a quiet moment. */
export function freeFrames(memory: Memory, node: Nid): number {
  let free = 0;
  for (const block of memory.blocks) {
    // RACY: a statistic.
    if (node === NONE || block.nid === node)
      free += racyLoad(block.words, memory.blockLayout.freeCount);
  }
  return free;
}

/** Frames of a node. */
export function nodeFrames(memory: Memory, node: Nid): number {
  return node === NONE
    ? totalFrames(memory)
    : memory.blocks.filter((block) => block.nid === node).length <<
        memory.sizes.framesPerBlockShift;
}
