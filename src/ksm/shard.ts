/**
 * shard - one ksmd's share of the work: its number, its private index and scratch, its counters.
 *
 * OWNS    the shard's words in the control memory, and its wide counters
 *
 * Every word here has one writer, the shard's thread; others read them as statistics. The index and the
 * batch are soft: lost, they are rebuilt by scanning again.
 *
 * INVARIANTS
 *   SHARD-1  only the thread that runs the shard writes its words.
 * MODEL   test/model/merge.test.ts
 */
import { plainLoad, plainLoadWide, plainStore, plainStoreWide } from "../base/atomics.js";
import { SHARD_ACTIVITY, SHARD_WORDS, WIDE_COUNTERS } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Slot } from "../base/units.js";
import { type ContentIndex, createIndex } from "./content-index.js";

/** Pages hashed and placed at a time: 256 pages just fill a core's second-level cache. */
export const BATCH_PAGES = 256;

export interface Batch {
  readonly slots: Int32Array;
  readonly ptes: Int32Array;
  readonly pfns: Int32Array;
  readonly hashes: Int32Array;
}

/** One frame and its hash: for what is hashed by itself, while the batch is being filled. */
export interface Single {
  readonly pfns: Int32Array;
  readonly hashes: Int32Array;
}

export interface Shard {
  readonly memory: Memory;
  readonly number: number;
  readonly index: ContentIndex;
  readonly batch: Batch;
  readonly single: Single;
}

export function createShard(memory: Memory, number: number): Shard {
  const single = { pfns: new Int32Array(1), hashes: new Int32Array(2) };
  return { memory, number, index: createIndex(), batch: createBatch(), single };
}

function createBatch(): Batch {
  return {
    slots: new Int32Array(BATCH_PAGES),
    ptes: new Int32Array(BATCH_PAGES),
    pfns: new Int32Array(BATCH_PAGES),
    hashes: new Int32Array(2 * BATCH_PAGES),
  };
}

/** The value of one of the SHARD_ words. */
export function shardWord(shard: Shard, word: number): number {
  const { control, layout } = shard.memory;
  return plainLoad(control, layout.shards + shard.number * SHARD_WORDS + word);
}

export function setShardWord(shard: Shard, word: number, value: number): void {
  const { control, layout } = shard.memory;
  plainStore(control, layout.shards + shard.number * SHARD_WORDS + word, value);
}

export function addShardWord(shard: Shard, word: number, delta: number): void {
  setShardWord(shard, word, shardWord(shard, word) + delta);
}

/** Something happened in this pass that keeps it from being settled. */
export function noteActivity(shard: Shard): void {
  addShardWord(shard, SHARD_ACTIVITY, 1);
}

/** Adds to one of the WIDE_ counters. */
export function addWide(shard: Shard, counter: number, delta: number): void {
  const { wide, layout } = shard.memory;
  const index = layout.wide + shard.number * WIDE_COUNTERS + counter;
  plainStoreWide(wide, index, plainLoadWide(wide, index) + delta);
}

// --- bitmaps, one bit a page, by slot: `base` is layout.pending, layout.hot, layout.visit, layout.mergeable

export function getBit(memory: Memory, base: number, slot: Slot): boolean {
  return (plainLoad(memory.control, base + (slot >>> 5)) & (1 << (slot & 31))) !== 0;
}

export function setBit(memory: Memory, base: number, slot: Slot): void {
  const word = base + (slot >>> 5);
  plainStore(memory.control, word, plainLoad(memory.control, word) | (1 << (slot & 31)));
}

export function clearBit(memory: Memory, base: number, slot: Slot): void {
  const word = base + (slot >>> 5);
  plainStore(memory.control, word, plainLoad(memory.control, word) & ~(1 << (slot & 31)));
}
