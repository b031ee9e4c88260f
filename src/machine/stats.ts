/**
 * stats - a plain object of everything that can be read without asking anybody.
 */
import { plainLoad } from "../base/atomics.js";
import { SHARD_SKIPPED_GUESTS, SHARD_STUCK_VCPU } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type GuestId, type Nid, NONE, PAGE_SIZE, type VcpuId } from "../base/units.js";
import { type Counters, readBusyMs, readCounters } from "../ksm/counters.js";
import { type Knobs, readKnobs } from "../ksm/knobs.js";
import { freeFrames, nodeFrames } from "../mm/frames.js";
import { guestCount } from "../mm/guest.js";
import { guestOfVcpu, vcpuOwner } from "../mm/shootdown.js";
import { vcpuCount } from "../mm/vcpu.js";
import { threadCount } from "./handle.js";

export interface FrameStats {
  readonly total: number;
  readonly used: number;
  readonly free: number;
}

export interface Stats {
  readonly counters: Counters;
  readonly knobs: Knobs;
  readonly frames: FrameStats;
  readonly nodes: readonly ({ readonly node: Nid } & FrameStats)[];
  readonly guests: number;
  readonly vcpus: number;
  readonly threads: number;
  /** Milliseconds that ksmd worked, its sleep not counted. */
  readonly busyMs: number;
  /** Guests that ksmd left out of a pass because a vCPU of theirs reached no safepoint in time. */
  readonly skippedGuests: number;
  /** The vCPU that was waited for in vain last. */
  readonly stuckVcpu: {
    readonly vcpu: VcpuId;
    readonly guest: GuestId;
    readonly thread: number;
  } | null;
  /** Bytes of all tables and frame records that are sized at creation; the system commits them when used. */
  readonly metadataBytes: number;
}

export function readStats(memory: Memory): Stats {
  const { blockLayout, control, layout, sizes } = memory;
  const blockOverhead = blockLayout.bytes - blockLayout.frames * PAGE_SIZE;
  return {
    counters: readCounters(memory),
    knobs: readKnobs(memory),
    frames: frameStats(memory, NONE),
    nodes: Array.from({ length: sizes.nodes }, (_, node) => ({
      node,
      ...frameStats(memory, node),
    })),
    guests: guestCount(memory),
    vcpus: vcpuCount(memory),
    threads: threadCount(memory),
    busyMs: readBusyMs(memory),
    skippedGuests: plainLoad(control, layout.shards + SHARD_SKIPPED_GUESTS),
    stuckVcpu: stuckVcpu(memory),
    metadataBytes: control.byteLength + blockOverhead * memory.blocks.length,
  };
}

function frameStats(memory: Memory, node: Nid | typeof NONE): FrameStats {
  const total = nodeFrames(memory, node);
  const free = freeFrames(memory, node);
  return { total, used: total - free, free };
}

function stuckVcpu(memory: Memory): Stats["stuckVcpu"] {
  const vcpu = plainLoad(memory.control, memory.layout.shards + SHARD_STUCK_VCPU) - 1;
  if (vcpu === NONE) return null;
  return { vcpu, guest: guestOfVcpu(memory, vcpu), thread: vcpuOwner(memory, vcpu) };
}
