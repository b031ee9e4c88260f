/**
 * counters - the counters of /sys/kernel/mm/ksm and ours beside them, as anybody may read them.
 *
 * Written by ksmd alone, so between batches they lag as the kernel's do: an item that lost its page is
 * counted until ksmd visits it. `ksm_ptes` does not lag: it is counted where ptes change (mm/pte.ts).
 */
import { plainLoad, plainLoadWide } from "../base/atomics.js";
import {
  ENGINE_COW_KSM,
  SHARD_CHAINS,
  SHARD_DUPS,
  SHARD_FULL_SCANS,
  SHARD_PAGES_SHARED,
  SHARD_PAGES_SHARING,
  SHARD_PAGES_UNSHARED,
  SHARD_RMAP_ITEMS,
  SHARD_WORDS,
  WIDE_BUSY_MS,
  WIDE_COMPARES,
  WIDE_COUNTERS,
  WIDE_PAGES_HASHED,
  WIDE_PAGES_MERGED,
  WIDE_PAGES_SCANNED,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { PAGE_SIZE } from "../base/units.js";
import { ksmPtes } from "../mm/pte.js";

/** Bytes that the kernel charges for an rmap item, in general_profit. */
const KERNEL_ITEM_BYTES = 64;

/** The kernel's names; pages, unless the name says otherwise. */
export interface Counters {
  /** Frames that are shared. */
  pages_shared: number;
  /** Pages that share one of them, less one each: frames saved. */
  pages_sharing: number;
  /** Pages looked at, and equal to no other. */
  pages_unshared: number;
  /** Pages that change too fast, or were seen for the first time. */
  pages_volatile: number;
  /** Passes over everything. */
  full_scans: number;
  /** Pages visited since creation. */
  pages_scanned: number;
  /** Contents that needed more than one frame. */
  stable_node_chains: number;
  /** Frames of such contents. */
  stable_node_dups: number;
  /** Bytes saved, less 64 for each page looked at. */
  general_profit: number;
  /** Write faults that copied a merged page. */
  cow_ksm: number;
  /** Pages hashed since creation. */
  pages_hashed: number;
  /** Pages merged since creation. */
  pages_merged: number;
  /** Pages compared with another since creation. */
  pages_compared: number;
  /** Page table entries that map a merged frame at this moment. */
  ksm_ptes: number;
}

/** Reads the counters of all shards. */
export function readCounters(memory: Memory): Counters {
  const sum = (word: number) => sumShards(memory, word);
  const wide = (counter: number) => sumWide(memory, counter);
  const shared = sum(SHARD_PAGES_SHARED);
  const sharing = sum(SHARD_PAGES_SHARING);
  const unshared = sum(SHARD_PAGES_UNSHARED);
  const items = sum(SHARD_RMAP_ITEMS);
  return {
    pages_shared: shared,
    pages_sharing: sharing,
    pages_unshared: unshared,
    pages_volatile: Math.max(0, items - shared - sharing - unshared),
    full_scans: plainLoad(memory.control, memory.layout.shards + SHARD_FULL_SCANS),
    pages_scanned: wide(WIDE_PAGES_SCANNED),
    stable_node_chains: sum(SHARD_CHAINS),
    stable_node_dups: sum(SHARD_DUPS),
    general_profit: sharing * PAGE_SIZE - items * KERNEL_ITEM_BYTES,
    cow_ksm: plainLoad(memory.control, memory.layout.engine + ENGINE_COW_KSM) >>> 0,
    pages_hashed: wide(WIDE_PAGES_HASHED),
    pages_merged: wide(WIDE_PAGES_MERGED),
    pages_compared: wide(WIDE_COMPARES),
    ksm_ptes: ksmPtes(memory),
  };
}

/** Milliseconds that ksmd has worked, not counting its sleep. */
export function readBusyMs(memory: Memory): number {
  return sumWide(memory, WIDE_BUSY_MS);
}

function sumShards(memory: Memory, word: number): number {
  let sum = 0;
  for (let shard = 0; shard < memory.sizes.shards; shard++) {
    sum += plainLoad(memory.control, memory.layout.shards + shard * SHARD_WORDS + word);
  }
  return sum;
}

function sumWide(memory: Memory, counter: number): number {
  let sum = 0;
  for (let shard = 0; shard < memory.sizes.shards; shard++) {
    sum += plainLoadWide(memory.wide, memory.layout.wide + shard * WIDE_COUNTERS + counter);
  }
  return sum;
}
