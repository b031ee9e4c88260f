/**
 * options - what an engine is created with, checked and made into sizes.
 */
import { randomInt } from "node:crypto";
import { PagefoldError } from "../base/errors.js";
import type { Sizes } from "../base/layout.js";
import type { Patience } from "../base/memory.js";
import { NUMBER_MAX, PAGE_SHIFT, PAGE_SIZE } from "../base/units.js";
import {
  type HashName,
  type KernelImplementation,
  type KernelSpec,
  resolveKernels,
} from "../kernels/options.js";
import { givenKnobs, KNOB_DEFAULTS, type Knobs } from "../ksm/knobs.js";
import { givenPolicies, type Policy } from "../migrate/policies/policy.js";
import { slotsFor } from "../mm/guest.js";
import type { MigratorShare } from "./migrator.js";

/** What an engine is created with. Tables are sized by it once: they do not grow. */
export interface EngineOptions {
  /** NUMA nodes, 1 to 64: each a worker with memory of its own. Default 1. */
  readonly nodes?: number;
  /** Bytes of frames on each node, rounded up to whole blocks; 64 GiB less a page at most over all. Default 64 MiB. */
  readonly memoryPerNode?: number;
  /**
   * Bytes of frames that a node may grow to, by `engine.addBlock` or because frames run out; tables are sized for it.
   * Default `memoryPerNode`: blocks come back that were given back before.
   */
  readonly maxMemoryPerNode?: number;
  /** Bytes of frames in a block: a power of two from 64 KiB to 1 GiB. Default 64 MiB, less for small nodes. */
  readonly blockBytes?: number;
  /** Bytes of all guests together; more than the nodes have is fine. Default eight times the memory of the nodes. */
  readonly maxGuestBytes?: number;
  /** Guests at most. Default 1,024. */
  readonly maxGuests?: number;
  /** vCPUs at most, over all guests; a guest needs one in each thread that uses it. Default 2 maxGuests + 256. */
  readonly maxVcpus?: number;
  /** Workers that move frames between nodes, 0 to 64. Default 0: the thread that asks for it does. */
  readonly migrators?: number;
  /** What the migrators do by themselves from the start; `engine.setPolicies` changes it. Default: nothing. */
  readonly policies?: readonly Policy[];
  /**
   * Threads attached at a time at most, the engine's nodes + migrators + 2 included. Default 32, more for many
   * of those.
   */
  readonly maxThreads?: number;
  /** Workers for the nodes and for ksmd. Without, everything runs in calls, deterministically. Default true. */
  readonly workers?: boolean;
  /** What hashes, compares and copies pages. Default "auto": simd, or scalar where WebAssembly has no SIMD. */
  readonly kernels?: KernelImplementation | "auto";
  /** The hash of pages. Default "auto": xxh3-64 (xxh64 with xxhash-wasm). */
  readonly hash?: HashName | "auto";
  /**
   * Seed of the hash and of what the policy chaos does, 0 to 2^48 - 1. Default: random, so that no guest can prepare
   * collisions.
   */
  readonly seed?: number;
  /** For tests: keeps this many bits of the hash, 1 to 64; merging is the same with any. Default 64. */
  readonly hashBits?: number;
  /** ksmd's knobs from the start; others have the kernel's defaults (run 0: stopped). */
  readonly ksm?: Partial<Knobs>;
  /** Milliseconds ksmd waits for a vCPU to reach a safepoint before it leaves its guest out of the pass. Default 20. */
  readonly scanTimeout?: number;
  /**
   * Milliseconds a write fault waits for a sibling vCPU before it throws PAGEFOLD_VCPU_STUCK, and a change of blocks
   * for a thread before it rejects with PAGEFOLD_THREAD_STUCK. Default 5,000.
   */
  readonly faultTimeout?: number;
  /**
   * Whether every thread runs a major garbage collection when it has let go of blocks. Without, their memory goes back
   * to the system when each happens to run one, which an idle thread never does. Default false.
   */
  readonly collectGarbage?: boolean;
  /** Closes the engine when aborted. */
  readonly signal?: AbortSignal;
}

/** Options with every default filled in and every consequence computed. */
export interface EngineConfig {
  readonly sizes: Sizes;
  readonly patience: Patience;
  /** Blocks of each node from the start. */
  readonly blocksPerNode: number;
  readonly kernels: KernelSpec;
  readonly knobs: Knobs;
  readonly workers: boolean;
  readonly collectGarbage: boolean;
  readonly migrators: readonly MigratorShare[];
  readonly policies: readonly Policy[];
}

const BLOCK_BYTES = 64 * 2 ** 20;
const NODES_MAX = 64;
const MIGRATORS_MAX = 64;
/** Polls of a vCPU word before sleeping: about 2 us. */
const POLLS = 200;

const KNOWN: readonly (keyof EngineOptions)[] = [
  "nodes",
  "memoryPerNode",
  "maxMemoryPerNode",
  "blockBytes",
  "maxGuestBytes",
  "maxGuests",
  "maxVcpus",
  "migrators",
  "policies",
  "maxThreads",
  "workers",
  "kernels",
  "hash",
  "seed",
  "hashBits",
  "ksm",
  "scanTimeout",
  "faultTimeout",
  "collectGarbage",
  "signal",
];

/** Throws for an option that does not exist: a mistyped one would be ignored in silence. */
export function checkOptionNames(options: object, known: readonly string[]): void {
  if (typeof options !== "object" || options === null) {
    throw new PagefoldError("PAGEFOLD_BAD_OPTION", `options must be an object, not ${options}`);
  }
  for (const option of Object.keys(options)) {
    if (known.includes(option)) continue;
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `there is no option ${option}; the options are ${known.join(", ")}`,
      { option, known },
    );
  }
}

function checkOptions(options: EngineOptions): void {
  checkOptionNames(options, KNOWN);
  for (const option of ["workers", "collectGarbage"] as const) {
    const value: unknown = options[option];
    if (value === undefined || typeof value === "boolean") continue;
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `${option} must be true or false, not ${value}`,
      {
        option,
        value,
      },
    );
  }
}

export function resolveOptions(options: EngineOptions): EngineConfig {
  checkOptions(options);
  const nodes = integer("nodes", options.nodes, 1, 1, NODES_MAX);
  const { blockBytes, blocks, blocksPerNode } = resolveBlocks(options, nodes);
  const migrators = integer("migrators", options.migrators, 0, 0, MIGRATORS_MAX);
  const threads = integer(
    "maxThreads",
    options.maxThreads,
    Math.max(32, nodes + migrators + 16),
    nodes + migrators + 2,
    256,
  );
  const guests = integer("maxGuests", options.maxGuests, 1024, 1, 2 ** 16);
  const slots = resolveSlots(options.maxGuestBytes, blocks * blockBytes, guests);
  const workers = options.workers ?? true;
  const knobs = { ...KNOB_DEFAULTS, ...givenKnobs(options.ksm ?? {}) };
  const seed = integer("seed", options.seed, randomInt(2 ** 48 - 1), 0, 2 ** 48 - 1);
  return {
    sizes: {
      framesPerBlockShift: Math.log2(blockBytes) - PAGE_SHIFT,
      blocks,
      nodes,
      shards: 1,
      threads,
      guests,
      vcpus: integer("maxVcpus", options.maxVcpus, 2 * guests + 256, 1, 2 ** 18),
      slots,
      // A node has a sharer at least, and a page shares one frame at most.
      stableNodes: slots,
    },
    patience: {
      polls: POLLS,
      scanMs: integer("scanTimeout", options.scanTimeout, 20, 0, 2 ** 31 - 1),
      faultMs: integer("faultTimeout", options.faultTimeout, 5000, 0, 2 ** 31 - 1),
    },
    blocksPerNode,
    kernels: resolveKernels({
      kernels: options.kernels,
      hash: options.hash,
      seed: [seed | 0, Math.floor(seed / 2 ** 32)],
      hashBits: integer("hashBits", options.hashBits, 64, 1, 64),
    }),
    knobs,
    workers,
    collectGarbage: options.collectGarbage ?? false,
    migrators: Array.from({ length: migrators }, (_, number) => ({
      number,
      migrators,
      seed: migratorSeed(seed, number),
    })),
    policies: checkPolicies(options.policies ?? [], workers ? migrators : 0),
  };
}

/** The policies, if they are some and there are migrators to follow them. */
export function checkPolicies(policies: readonly Policy[], migrators: number): readonly Policy[] {
  const given = givenPolicies(policies);
  if (given.length === 0 || migrators > 0) return given;
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    "policies need workers to follow them: create the engine with migrators: 1 or more, and not with workers: false",
    { option: "policies", value: policies },
  );
}

/** Where a migrator's chance begins: each somewhere else, and nowhere that gives the hash's seed away. */
function migratorSeed(seed: number, number: number): number {
  return Math.imul((seed | 0) ^ Math.floor(seed / 2 ** 32), 0x9e3779b1) + number;
}

/** Blocks of each node from the start, and numbers for all that there may be. */
function resolveBlocks(
  options: EngineOptions,
  nodes: number,
): { readonly blockBytes: number; readonly blocks: number; readonly blocksPerNode: number } {
  const most = Math.floor((NUMBER_MAX * PAGE_SIZE) / nodes);
  const perNode = integer("memoryPerNode", options.memoryPerNode, BLOCK_BYTES, PAGE_SIZE, most);
  const maximum = integer("maxMemoryPerNode", options.maxMemoryPerNode, perNode, perNode, most);
  const blockBytes = resolveBlockBytes(options.blockBytes, perNode);
  const blocks = Math.ceil(maximum / blockBytes) * nodes;
  if (blocks * (blockBytes / PAGE_SIZE) > NUMBER_MAX + 1) {
    const option = maximum === perNode ? "memoryPerNode" : "maxMemoryPerNode";
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `${option}: ${blocks} blocks of ${blockBytes} bytes are more than ${NUMBER_MAX + 1} frames`,
      { option, blocks, blockBytes },
    );
  }
  return { blockBytes, blocks, blocksPerNode: Math.ceil(perNode / blockBytes) };
}

function integer(
  name: string,
  value: number | undefined,
  fallback: number,
  min: number,
  max: number,
): number {
  if (value === undefined) return fallback;
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    `${name} must be an integer from ${min} to ${max}, not ${value}`,
    { option: name, value, min, max },
  );
}

function resolveBlockBytes(value: number | undefined, perNode: number): number {
  if (value === undefined) {
    const wanted = 2 ** Math.ceil(Math.log2(perNode));
    return Math.max(64 * 1024, Math.min(BLOCK_BYTES, wanted));
  }
  const bytes = integer("blockBytes", value, BLOCK_BYTES, 64 * 1024, 2 ** 30);
  if (Number.isInteger(Math.log2(bytes))) return bytes;
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    `blockBytes must be a power of two, not ${bytes}`,
    {
      option: "blockBytes",
      value,
    },
  );
}

/** Slots of all guests: as asked, or eight times the frames, and a chunk for each of a few small guests. */
function resolveSlots(bytes: number | undefined, memory: number, guests: number): number {
  const max = NUMBER_MAX * PAGE_SIZE;
  const wanted = integer("maxGuestBytes", bytes, Math.min(8 * memory, max), PAGE_SIZE, max);
  const chunksForAll = slotsFor(wanted / PAGE_SIZE) + slotsFor(1) * guests;
  return Math.min(NUMBER_MAX + 1, chunksForAll);
}
