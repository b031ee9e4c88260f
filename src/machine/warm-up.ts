/**
 * warm-up - lets V8 optimize ksmd's code, on a small machine of its own, while ksmd has nothing to do.
 *
 * A worker's code is cold: without this the first hundred thousand pages cost half as much again. So while
 * guests are being filled, ksmd does what it is going to do: it scans, merges and unmerges pages of a machine
 * that nobody else knows. It goes in steps of some milliseconds, between two looks at the messages,
 * and ends for good when the real machine has work.
 *
 * V8 optimizes for what it has seen, and begins anew when it sees something else. What the functions are
 * given here must therefore be made by the same code as the real thing: the sizes come out of a structured
 * clone, as a worker's do, and there are several blocks, so that no kernel is taken for the only one.
 */
import { PagefoldError } from "../base/errors.js";
import { attachMemory, createMemoryHandle, type Memory } from "../base/memory.js";
import { PAGE_SIZE } from "../base/units.js";
import { prepareKernels } from "../kernels/prepare.js";
import { KNOB_DEFAULTS, writeKnobs } from "../ksm/knobs.js";
import { unmergeEverything } from "../ksm/lifecycle.js";
import { SCAN_MORE, scanBatch } from "../ksm/scan.js";
import { BATCH_PAGES, createShard, type Shard } from "../ksm/shard.js";
import { initBlock } from "../mm/frames.js";
import { claimGuest, initGuest } from "../mm/guest.js";
import { openVcpu } from "../mm/vcpu.js";
import type { EngineHandle } from "./handle.js";
import { Vcpu } from "./vcpu.js";

/** Frames of an engine below which the warm-up costs more than it can save. */
const FRAMES_MIN = 16_384;

const PAGES = 1024;
/** Pages that are alike, where pages are. */
const ALIKE = 16;
const BLOCK_SHIFT = 9;
/** Two hold the pages, so that pages of one block and of two are compared; one is room for unmerging. */
const BLOCKS = 3;
/** Pages of a step: a full batch and a part of one, so that batches begin anywhere in a block. */
const STEP_PAGES = BATCH_PAGES + 64;
/** Pages that are written in a step. */
const FILL_PAGES = 128;
/** One page in so many is written between passes. */
const WRITE_STEP = 8;
/** Code that has seen one machine is made for it, and made anew for the second; then for any. */
const MACHINES = 2;
/** Rounds on a machine after which V8 has optimized all there is to optimize. */
const ROUNDS = 20;

/** Each `next` is a step. */
export type WarmUp = Iterator<void, void>;

/** The warm-up of this engine's ksmd; null: it is too small to profit. Nothing is done before the first step. */
export async function prepareWarmUp({ memory, kernels }: EngineHandle): Promise<WarmUp | null> {
  const { sizes, patience } = memory;
  if (sizes.blocks << sizes.framesPerBlockShift < FRAMES_MIN) return null;
  const createKernels = await prepareKernels(kernels);
  return warmUp(() => {
    const small = {
      ...sizes,
      framesPerBlockShift: BLOCK_SHIFT,
      blocks: BLOCKS,
      ...{ nodes: 1, shards: 1, threads: 1, guests: 1, vcpus: 1 },
      slots: PAGES,
      stableNodes: PAGES,
    };
    const blockNodes = Array.from({ length: BLOCKS }, () => 0);
    const clone = structuredClone(createMemoryHandle(small, patience, blockNodes));
    return attachMemory(clone, 0, (blocks, layout, shift) =>
      createKernels(blocks, layout, shift, 0),
    );
  });
}

function* warmUp(createMemory: () => Memory): Generator<void, void> {
  for (let machine = 0; machine < MACHINES; machine++) {
    const memory = createOrNull(createMemory);
    if (memory === null) return;
    yield* warmUpOn(memory);
  }
}

function* warmUpOn(memory: Memory): Generator<void, void> {
  for (let block = 0; block < BLOCKS; block++) initBlock(memory, block);
  writeKnobs(memory, KNOB_DEFAULTS);
  initGuest(memory, claimGuest(memory), 0, PAGES, 0);
  const vcpu = new Vcpu(memory, openVcpu(memory, 0));
  yield* fill(vcpu);
  for (let round = 0; round < ROUNDS; round++) {
    // Everything is unmerged, and a new index is as good as the old one: it has to grow again.
    const shard = createShard(memory, 0);
    yield* write(vcpu, 1, round);
    yield* scan(shard, 2);
    yield* write(vcpu, WRITE_STEP, ~round);
    yield* scan(shard, 2);
    unmergeEverything(shard);
    yield;
  }
}

/** A system that has no memory left for this may have enough for the engine. */
function createOrNull(createMemory: () => Memory): Memory | null {
  try {
    return createMemory();
  } catch (error) {
    if (error instanceof PagefoldError && error.code === "PAGEFOLD_NO_MEMORY") return null;
    throw error;
  }
}

/** Half of the pages are unlike any other, a quarter is like others of their block, a quarter like others anywhere. */
function contentOf(gfn: number): number {
  if (gfn % 2 === 0) return gfn;
  const alike = gfn % (PAGES / ALIKE);
  return gfn % 4 === 1 ? alike : alike + PAGES * (1 + (gfn >>> BLOCK_SHIFT));
}

/** Gives each page the bytes of its content. */
function* fill(vcpu: Vcpu): Generator<void, void> {
  const page = new Int32Array(PAGE_SIZE / 4);
  for (let gfn = 0; gfn < PAGES; gfn++) {
    const content = contentOf(gfn);
    for (let word = 0; word < page.length; word++) page[word] = Math.imul(content + 1, word + 1);
    vcpu.write(gfn * PAGE_SIZE, new Uint8Array(page.buffer));
    if (gfn % FILL_PAGES === 0) yield;
  }
}

/** Writes one page in `step`, so that pages that were alike are alike again. */
function* write(vcpu: Vcpu, step: number, value: number): Generator<void, void> {
  for (let gfn = 0; gfn < PAGES; gfn += step) {
    vcpu.store32(gfn * PAGE_SIZE, value);
    if (gfn % FILL_PAGES === 0) yield;
  }
}

function* scan(shard: Shard, passes: number): Generator<void, void> {
  for (let pass = 0; pass < passes; pass++) {
    while (scanBatch(shard, STEP_PAGES) === SCAN_MORE) yield;
    yield;
  }
}
