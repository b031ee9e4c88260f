/**
 * frames - the free frames of each node: one bit a frame, in its block.
 *
 * OWNS    block.freeBitmap, block.free, block.hint, block.touched
 *
 * A frame is taken by clearing its bit and freed by setting it: no list, so no ABA, nothing private to a
 * thread that could die with it, and frames come in address order, which is what the hash likes best.
 * "Free" is decided by the bit alone, never by ref == 0: a frame in an allocator's hand has that too.
 *
 * INVARIANTS
 *   FREE-1  bit set => ref 0, mapping NOBODY, mapped by no pte, in no limbo list.
 *   FREE-2  block.free equals the bits set at any quiet moment; in between it is a hint.
 *   FREE-3  a frame is taken of an ONLINE block only (mm/blocks.ts), or of one that went offline at that moment.
 * ORDER   free.take <-> free.give
 * MODEL   test/model/page-ref.test.ts
 * LINUX   the buddy allocator's order-0 lists; here bitmaps, because frames never merge into larger ones.
 */
import {
  casWord,
  countWord,
  exchangeWord,
  loadWord,
  orWord,
  plainStore,
  racyLoad,
  racyStore,
} from "../base/atomics.js";
import { popcount } from "../base/bits.js";
import { BLOCK_FREE, BLOCK_HINT, BLOCK_ONLINE, BLOCK_TOUCHED } from "../base/layout.js";
import { type Block, blockOf, frameInBlock, type Memory } from "../base/memory.js";
import { type Gfn, type GuestId, type Nid, NONE, type Pfn } from "../base/units.js";
import { blockIsOnline, setBlockState, setReleasedFrames } from "./blocks.js";
import { clearMapping, ownFrame } from "./page-mapping.js";
import { dropPage, publishPage } from "./page-ref.js";

/** Marks every frame of block `number` free and gives them out; once, when every thread has the block. */
export function initBlock(memory: Memory, number: number): void {
  const { words } = memory.blocks[number] as Block;
  const { frames, freeBitmap, freeWords, line } = memory.blockLayout;
  for (let word = 0; word < freeWords; word++) {
    const bits = Math.min(32, frames - word * 32);
    plainStore(words, freeBitmap + word, bits === 32 ? -1 : (1 << bits) - 1);
  }
  plainStore(words, line + BLOCK_FREE, frames);
  setReleasedFrames(memory, number, 0);
  setBlockState(memory, number, BLOCK_ONLINE);
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
  const { sizes, blockLayout } = memory;
  for (let number = 0; number < memory.blocks.length; number++) {
    const block = memory.blocks[number];
    if (block === null || (block.nid === node) !== ofNode) continue;
    if (!blockIsOnline(memory, number)) continue;
    // RACY: a stale count hides a frame, or costs a look; the last round does not trust it.
    if (trustCount && racyLoad(block.words, blockLayout.line + BLOCK_FREE) <= 0) continue;
    const index = takeFromBlock(memory, block);
    if (index !== NONE) return (number << sizes.framesPerBlockShift) | index;
  }
  return NONE;
}

function takeFromBlock(memory: Memory, block: Block): number {
  const { freeBitmap, freeWords, line } = memory.blockLayout;
  const { words } = block;
  // RACY: any word of the bitmap is a good place to begin.
  const hint = racyLoad(words, line + BLOCK_HINT) % freeWords;
  for (let step = 0; step < freeWords; step++) {
    const word = (hint + step) % freeWords;
    for (;;) {
      // ORDER free.take <-> free.give, free.restore: whoever clears the bit has the frame; all that its last holder
      // did comes first.
      const bits = loadWord(words, freeBitmap + word);
      if (bits === 0) break;
      const bit = bits & -bits;
      if (casWord(words, freeBitmap + word, bits, bits & ~bit) !== bits) continue;
      countWord(words, line + BLOCK_FREE, -1);
      // RACY: as above.
      if (step !== 0) racyStore(words, line + BLOCK_HINT, word);
      const index = word * 32 + (31 - Math.clz32(bit));
      touch(memory, words, index);
      return index;
    }
  }
  return NONE;
}

function touch(memory: Memory, words: Int32Array, index: number): void {
  const touched = memory.blockLayout.line + BLOCK_TOUCHED;
  // RACY: a statistic; of two that store at a time the smaller may stay, until the next.
  if (racyLoad(words, touched) <= index) racyStore(words, touched, index + 1);
}

/** Drops a reference, and frees the frame if it was the last. */
export function putPage(memory: Memory, pfn: Pfn): void {
  if (dropPage(memory, pfn)) freeFrame(memory, pfn);
}

/** Frees a frame that nobody holds (ref 0, no mapping). */
export function freeFrame(memory: Memory, pfn: Pfn): void {
  const { words } = blockOf(memory, pfn);
  const { freeBitmap, line } = memory.blockLayout;
  const index = frameInBlock(memory, pfn);
  clearMapping(memory, pfn);
  // ORDER free.give <-> free.take, free.sweep, free.look: ref 0 and mapping NOBODY first; else its next owner has
  // them overwritten.
  orWord(words, freeBitmap + (index >>> 5), 1 << (index & 31));
  countWord(words, line + BLOCK_FREE, 1);
}

/** Is the frame's bit set? Exact at a quiet moment. */
export function frameIsFree(memory: Memory, pfn: Pfn): boolean {
  const index = frameInBlock(memory, pfn);
  // ORDER free.look <- free.give
  const bits = loadWord(blockOf(memory, pfn).words, memory.blockLayout.freeBitmap + (index >>> 5));
  return (bits & (1 << (index & 31))) !== 0;
}

// --- a whole word of the bitmap at a time, for blocks that go offline (mm/isolate.ts) ---------------

/** Takes every free frame among the 32 of the bitmap's word `word`; returns their bits. */
export function takeFreeWord(memory: Memory, block: Block, word: number): number {
  const { freeBitmap, line } = memory.blockLayout;
  // ORDER free.sweep <-> free.give: as free.take.
  const bits = exchangeWord(block.words, freeBitmap + word, 0);
  countWord(block.words, line + BLOCK_FREE, -popcount(bits));
  return bits;
}

/** Gives the frames of `bits`, taken by takeFreeWord, back. */
export function giveFreeWord(memory: Memory, block: Block, word: number, bits: number): void {
  const { freeBitmap, line } = memory.blockLayout;
  // ORDER free.restore <-> free.take: nobody has touched them meanwhile.
  orWord(block.words, freeBitmap + word, bits);
  countWord(block.words, line + BLOCK_FREE, popcount(bits));
}

/** The next frames are taken from the block's beginning on: those that have been in use before those that have not. */
export function rewindBlock(memory: Memory, block: Block): void {
  // RACY: any word of the bitmap is a good place to begin.
  racyStore(block.words, memory.blockLayout.line + BLOCK_HINT, 0);
}

// --- statistics -----------------------------------------------------------------------------------

/** Free frames of the block. A snapshot: exact at a quiet moment. */
export function freeFramesOf(memory: Memory, block: Block): number {
  // RACY: a statistic.
  return racyLoad(block.words, memory.blockLayout.line + BLOCK_FREE);
}

/** Frames of the block that have been in use: about those for which the system has given memory. */
export function touchedFrames(memory: Memory, block: Block): number {
  // RACY: a statistic.
  return racyLoad(block.words, memory.blockLayout.line + BLOCK_TOUCHED);
}

/** Free frames of a node, or of all (NONE), that may be taken. A snapshot: exact at a quiet moment. */
export function freeFrames(memory: Memory, node: Nid): number {
  let free = 0;
  for (const [number, block] of memory.blocks.entries()) {
    if (block === null || (node !== NONE && block.nid !== node)) continue;
    if (blockIsOnline(memory, number)) free += freeFramesOf(memory, block);
  }
  return free;
}
