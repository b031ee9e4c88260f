/**
 * isolate - taking the frames of a block out of use, one by one, until nothing refers to any.
 *
 * OWNS    block.isolated, block.isolatedCount, block.round
 *
 *   free ----> isolated          its free bit is taken, and its isolated bit set
 *    ^  |
 *    |  +--- given out           only while the block is ONLINE
 *    |
 *   held                         by ptes, pins, limbo, a passing thread: moved away (migrate/evacuate.ts) or waited for
 *
 * A frame is isolated by taking its free bit, as an allocator takes it, and never because its ref is 0: a frame
 * in another thread's hand has that too. Isolated are all of them when so many bits have been taken.
 * One thread at a time isolates a block's frames, in rounds (migrate/evacuate.ts). The engine's owner may bring the
 * block back at any moment: it says so in its state, waits for the round under way, and gives the frames back.
 *
 * INVARIANTS
 *   ISOLATE-1  an isolated frame has its free bit clear and ref 0, and no thread holds it or gets it.
 *   ISOLATE-2  every frame of the block is isolated => no pte, TLB, limbo list or pin refers to one of them.
 *   ISOLATE-3  brought back, a block has no isolated frame, whatever round was under way or asked for.
 * ORDER   free.sweep, free.restore; round.mark <-> round.look
 * MODEL   test/model/blocks.test.ts
 * LINUX   isolate_migratetype, __offline_isolated_pages, undo_isolate_page_range.
 */
import { loadWord, notifyWord, plainLoad, plainStore, storeWord } from "../base/atomics.js";
import { popcount } from "../base/bits.js";
import { BLOCK_ISOLATED, BLOCK_OFFLINE, BLOCK_ONLINE, BLOCK_ROUND } from "../base/layout.js";
import { type Block, blockOf, frameInBlock, type Memory } from "../base/memory.js";
import { type Nid, NONE, type Pfn } from "../base/units.js";
import { blockState, setBlockState } from "./blocks.js";
import { frameIsFree, giveFreeWord, takeFreeWord } from "./frames.js";
import { sleepWhile } from "./wait.js";

/** Isolates every frame of the block that is free at this moment; returns how many are isolated by now. */
export function isolateFree(memory: Memory, number: number): number {
  const block = memory.blocks[number] as Block;
  const { freeWords, isolated, line } = memory.blockLayout;
  let count = plainLoad(block.words, line + BLOCK_ISOLATED);
  for (let word = 0; word < freeWords; word++) {
    const bits = takeFreeWord(memory, block, word);
    if (bits === 0) continue;
    plainStore(block.words, isolated + word, plainLoad(block.words, isolated + word) | bits);
    count += popcount(bits);
  }
  plainStore(block.words, line + BLOCK_ISOLATED, count);
  return count;
}

/** Begins a round on a block that is to go. False: it is not OFFLINE any more, and stays. */
export function beginRound(memory: Memory, number: number): boolean {
  const { words } = memory.blocks[number] as Block;
  // ORDER round.mark <-> round.look: before the state is read, which whoever brings the block back changes before it
  // looks
  // here; else both go on, and frames are isolated for good.
  storeWord(words, memory.blockLayout.line + BLOCK_ROUND, 1);
  if (blockState(memory, number) === BLOCK_OFFLINE) return true;
  endRound(memory, number);
  return false;
}

export function endRound(memory: Memory, number: number): void {
  const { words } = memory.blocks[number] as Block;
  const round = memory.blockLayout.line + BLOCK_ROUND;
  // ORDER round.end <-> round.look, slice.sleep: what it isolated comes first; else some of it is not given back.
  storeWord(words, round, 0);
  notifyWord(words, round, Number.POSITIVE_INFINITY);
}

/** The block, OFFLINE, stays: its frames may be taken again, when the round under way has ended. By the owner. */
export function bringBack(memory: Memory, number: number): void {
  const { words } = memory.blocks[number] as Block;
  const round = memory.blockLayout.line + BLOCK_ROUND;
  setBlockState(memory, number, BLOCK_ONLINE);
  // ORDER round.look <-> round.mark, round.end: after the state has changed: a round that begins now ends at once.
  while (loadWord(words, round) === 1) sleepWhile(memory, words, round, 1);
  undoIsolation(memory, number);
}

/** Gives every isolated frame back. */
function undoIsolation(memory: Memory, number: number): void {
  const block = memory.blocks[number] as Block;
  const { freeWords, isolated, line } = memory.blockLayout;
  plainStore(block.words, line + BLOCK_ISOLATED, 0);
  for (let word = 0; word < freeWords; word++) {
    const bits = plainLoad(block.words, isolated + word);
    plainStore(block.words, isolated + word, 0);
    if (bits !== 0) giveFreeWord(memory, block, word, bits);
  }
}

/** Frames of the block that are isolated. Exact for the thread that isolates; to others a statistic. */
export function isolatedFrames(memory: Memory, block: Block): number {
  return plainLoad(block.words, memory.blockLayout.line + BLOCK_ISOLATED);
}

/** Frames of a node, or of all (NONE), that are in use or may be: those of its blocks that are not isolated. */
export function nodeFrames(memory: Memory, node: Nid): number {
  let frames = 0;
  for (const [number, block] of memory.blocks.entries()) {
    if (block === null || (node !== NONE && block.nid !== node)) continue;
    if (blockState(memory, number) < BLOCK_ONLINE) continue;
    frames += memory.blockLayout.frames - isolatedFrames(memory, block);
  }
  return frames;
}

export function frameIsIsolated(memory: Memory, pfn: Pfn): boolean {
  const index = frameInBlock(memory, pfn);
  const word = memory.blockLayout.isolated + (index >>> 5);
  return (plainLoad(blockOf(memory, pfn).words, word) & (1 << (index & 31))) !== 0;
}

/** Writes numbers of frames of the block that are neither free nor isolated into `pfns`; returns how many. */
export function heldFrames(memory: Memory, number: number, pfns: Int32Array): number {
  const first = number << memory.sizes.framesPerBlockShift;
  let count = 0;
  for (let i = 0; i < memory.blockLayout.frames && count < pfns.length; i++) {
    const pfn = first + i;
    if (!frameIsFree(memory, pfn) && !frameIsIsolated(memory, pfn)) pfns[count++] = pfn;
  }
  return count;
}
