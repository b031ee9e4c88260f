/**
 * blocks - which numbers have a block, and whether its frames may be taken.
 *
 * OWNS    block.state, block.released
 *
 *   ABSENT ----> JOINING ----------> ONLINE ---------------> OFFLINE ----------> LEAVING ----> ABSENT
 *     created     every thread        ^  frames are taken       |  every frame     every thread
 *                 attaches            |                         |  is isolated     detaches
 *                                     +---------- given up -----+-------------------+
 *
 * One thread, the engine's owner, moves a block from state to state; the others take part through their hosts
 * (MemoryHost). A frame's number is seen by others only once its block is ONLINE, and by then every thread has
 * attached; a block goes only when every frame of it is isolated (mm/isolate.ts), so that nothing refers to one.
 *
 * INVARIANTS
 *   BLOCK-1  a pte, an item's node or a list names a frame => its block is ONLINE or OFFLINE, and every thread
 *            that takes part has it.
 *   BLOCK-2  ABSENT => no thread has the block, nor has kept a frame's number of it from one mm operation to the next.
 *   BLOCK-3  from JOINING to ABSENT a number names one memory.
 * ORDER   block.set -> block.see; epoch.bump -> epoch.see; blocks.sound <-> slice.sleep
 * MODEL   test/model/blocks.test.ts
 * LINUX   memory_block states, online_pages, offline_pages, remove_memory.
 */
import {
  addWord,
  loadWord,
  notifyWord,
  plainLoad,
  plainStore,
  racyLoad,
  storeWord,
} from "../base/atomics.js";
import {
  BLOCK_ONLINE,
  BLOCK_RELEASED,
  BLOCK_STATE,
  BLOCK_WORDS,
  ENGINE_BLOCK_BELL,
  ENGINE_BLOCK_EPOCH,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Nid, WordIndex } from "../base/units.js";

function blockWord(memory: Memory, number: number): WordIndex {
  return memory.layout.blocks + number * BLOCK_WORDS;
}

/** One of the BLOCK_ states. */
export function blockState(memory: Memory, number: number): number {
  // ORDER block.see <- block.set
  return loadWord(memory.control, blockWord(memory, number) + BLOCK_STATE);
}

/** By the engine's owner. */
export function setBlockState(memory: Memory, number: number, state: number): void {
  // ORDER block.set -> block.see: ONLINE after every thread has the block, and its free bits are set; else a frame
  // of it is handed to a thread that cannot reach it.
  storeWord(memory.control, blockWord(memory, number) + BLOCK_STATE, state);
}

/** May frames of the block be taken? */
export function blockIsOnline(memory: Memory, number: number): boolean {
  // RACY: a frame that is taken of a block just gone offline is isolated when it is freed, and whoever takes it has
  // the block for as long as this operation lasts.
  return racyLoad(memory.control, blockWord(memory, number) + BLOCK_STATE) === BLOCK_ONLINE;
}

/** Frames that had been in use when the number's last block was given back; 0 for a block that is there. */
export function releasedFrames(memory: Memory, number: number): number {
  return plainLoad(memory.control, blockWord(memory, number) + BLOCK_RELEASED);
}

export function setReleasedFrames(memory: Memory, number: number, frames: number): void {
  plainStore(memory.control, blockWord(memory, number) + BLOCK_RELEASED, frames);
}

/** Node that the number belongs to: each has as many, in order. */
export function nodeOfBlock(memory: Memory, number: number): Nid {
  const { blocks, nodes } = memory.sizes;
  return Math.floor(number / (blocks / nodes));
}

// --- changes that threads take part in ------------------------------------------------------------

/** All threads have been told of one change more; returns its number. */
export function announceChange(memory: Memory): number {
  // ORDER epoch.bump -> epoch.see: after the change was sent to every thread; else one looks, finds nothing, and does
  // not look again.
  const epoch = addWord(memory.control, memory.layout.engine + ENGINE_BLOCK_EPOCH, 1) + 1;
  soundBell(memory);
  return epoch;
}

/** Wakes whoever sleeps for a change, or for what came of a try to add a block. */
export function soundBell(memory: Memory): void {
  const bell = memory.layout.engine + ENGINE_BLOCK_BELL;
  // ORDER blocks.sound <-> slice.sleep, blocks.look: after what it is sounded for; else a sleeper wakes, finds
  // nothing, and sleeps on.
  addWord(memory.control, bell, 1);
  notifyWord(memory.control, bell, Number.POSITIVE_INFINITY);
}

/** A safepoint as far as blocks go: takes part in changes, if there are any that this thread has not taken part in. */
export function takeChanges(memory: Memory): void {
  // ORDER epoch.see <- epoch.bump
  const epoch = loadWord(memory.control, memory.layout.engine + ENGINE_BLOCK_EPOCH);
  if (epoch !== memory.host.epoch) memory.host.takeChanges();
}
