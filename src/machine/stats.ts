/**
 * stats - a plain object of everything that can be read without asking anybody.
 */
import { plainLoad } from "../base/atomics.js";
import {
  ENGINE_BLOCKS_ADDED,
  ENGINE_BLOCKS_REMOVED,
  SHARD_SKIPPED_GUESTS,
  SHARD_STUCK_VCPU,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type GuestId, type Nid, NONE, PAGE_SIZE, type VcpuId } from "../base/units.js";
import { type Counters, readBusyMs, readCounters } from "../ksm/counters.js";
import { type Knobs, readKnobs } from "../ksm/knobs.js";
import { readTotals } from "../migrate/totals.js";
import { blockIsOnline, releasedFrames } from "../mm/blocks.js";
import { freeFrames, freeFramesOf, touchedFrames } from "../mm/frames.js";
import { guestCount } from "../mm/guest.js";
import { isolatedFrames, nodeFrames } from "../mm/isolate.js";
import { guestOfVcpu, vcpuOwner } from "../mm/shootdown.js";
import { vcpuCount } from "../mm/vcpu.js";
import { threadCount } from "./handle.js";
import { type MigrationResult, resultOf } from "./migration.js";

/** Frames of 4 KiB. */
export interface FrameStats {
  /** Those of the blocks that there are: at first `memoryPerNode`, rounded up to whole blocks. */
  readonly total: number;
  /** Those that hold pages, and those that merging has given up but a vCPU may still read. */
  readonly used: number;
  /** Those that the next write may take. */
  readonly free: number;
}

/** What `engine.stats()` reads: everything that can be known without asking anybody. */
export interface Stats {
  /** The kernel's counters, and ours beside them. */
  readonly counters: Counters;
  /** The knobs' values. */
  readonly knobs: Knobs;
  /** Frames of all nodes. */
  readonly frames: FrameStats;
  /** Frames by node, in order of number. */
  readonly nodes: readonly ({
    /** Number of the node. */
    readonly node: Nid;
  } & FrameStats)[];
  /** Memory of frames, in bytes. */
  readonly memory: {
    /** Free frames that have been in use: the process still has their memory, and the next writes get it. */
    readonly reusableBytes: number;
    /** Frames that had been in use of blocks that are gone: given back to the system, and not taken again. */
    readonly releasedBytes: number;
  };
  /** Blocks. */
  readonly blocks: {
    /** Those whose frames may be taken. */
    readonly online: number;
    /** Taken away since creation. */
    readonly removed: number;
    /** Added since creation. */
    readonly added: number;
  };
  /**
   * Frames that were to be moved since creation: by policies, `engine.migrate` and `guest.moveToNode`. A frame counts
   * each time.
   */
  readonly migrations: MigrationResult;
  /** Guests created so far. */
  readonly guests: number;
  /** vCPUs created so far; one that was closed is given out again. */
  readonly vcpus: number;
  /** Threads attached at this moment: the creator, the engine's workers, and yours. */
  readonly threads: number;
  /** Milliseconds that ksmd worked, its sleep not counted. */
  readonly busyMs: number;
  /** Guests that ksmd left out of a pass because a vCPU of theirs reached no safepoint in time. */
  readonly skippedGuests: number;
  /** The vCPU that ksmd waited for in vain last; null when its guest has answered since. */
  readonly stuckVcpu: {
    /** Number of the vCPU, as `vcpu.id`. */
    readonly vcpu: VcpuId;
    /** Number of its guest. */
    readonly guest: GuestId;
    /** Number of the thread that has it. */
    readonly thread: number;
  } | null;
  /** Bytes of all tables and frame records that are sized at creation; the system commits them when used. */
  readonly metadataBytes: number;
}

export function readStats(memory: Memory): Stats {
  const { blockLayout, control, layout, sizes } = memory;
  const blockOverhead = blockLayout.bytes - blockLayout.frames * PAGE_SIZE;
  const online = memory.blocks.filter((_, number) => blockIsOnline(memory, number)).length;
  const attached = memory.blocks.filter((block) => block !== null).length;
  return {
    counters: readCounters(memory),
    knobs: readKnobs(memory),
    frames: frameStats(memory, NONE),
    nodes: Array.from({ length: sizes.nodes }, (_, node) => ({
      node,
      ...frameStats(memory, node),
    })),
    memory: memoryStats(memory),
    blocks: {
      online,
      removed: plainLoad(control, layout.engine + ENGINE_BLOCKS_REMOVED),
      added: plainLoad(control, layout.engine + ENGINE_BLOCKS_ADDED),
    },
    migrations: resultOf(readTotals(memory)),
    guests: guestCount(memory),
    vcpus: vcpuCount(memory),
    threads: threadCount(memory),
    busyMs: readBusyMs(memory),
    skippedGuests: plainLoad(control, layout.shards + SHARD_SKIPPED_GUESTS),
    stuckVcpu: stuckVcpu(memory),
    metadataBytes: control.byteLength + blockOverhead * attached,
  };
}

function frameStats(memory: Memory, node: Nid | typeof NONE): FrameStats {
  const total = nodeFrames(memory, node);
  const free = freeFrames(memory, node);
  return { total, used: total - free, free };
}

function memoryStats(memory: Memory): Stats["memory"] {
  const { frames } = memory.blockLayout;
  let reusable = 0;
  let released = 0;
  for (const [number, block] of memory.blocks.entries()) {
    released += releasedFrames(memory, number);
    if (block === null) continue;
    const used = frames - freeFramesOf(memory, block) - isolatedFrames(memory, block);
    reusable += Math.max(0, touchedFrames(memory, block) - used);
  }
  return { reusableBytes: reusable * PAGE_SIZE, releasedBytes: released * PAGE_SIZE };
}

function stuckVcpu(memory: Memory): Stats["stuckVcpu"] {
  const vcpu = plainLoad(memory.control, memory.layout.shards + SHARD_STUCK_VCPU) - 1;
  if (vcpu === NONE) return null;
  return { vcpu, guest: guestOfVcpu(memory, vcpu), thread: vcpuOwner(memory, vcpu) };
}
