/**
 * plan - everything about a stress that is decided before it begins, by its options alone: how large things are,
 * the seeds of all random choices, and what is done to the machine in each round, in which order.
 *
 * How the threads of a run interleave is decided by the machine it runs on, and is another one each time.
 */
import { createHash } from "node:crypto";
import { PAGE_SIZE } from "../../base/units.js";
import type { Policy } from "../../index.js";
import { BadInput } from "../bad-input.js";
import { mix, Random } from "../random.js";
import { size } from "../screen/figures.js";
import type { StressOptions } from "./options.js";

/** What is done to the machine while vCPUs work. */
export type Step =
  /** run 2, then another max_page_sharing. */
  | { readonly kind: "limit"; readonly maxPageSharing: number }
  /** run 2, then another merge_across_nodes. */
  | { readonly kind: "across"; readonly mergeAcrossNodes: 0 | 1 }
  | { readonly kind: "pace"; readonly pagesToScan: number; readonly sleepMillisecs: number }
  /** run 2, and merging again. */
  | { readonly kind: "unmerge" }
  /** Pages [from, to) of a guest may not be merged, and then may again. */
  | { readonly kind: "region"; readonly guest: number; readonly from: number; readonly to: number }
  /** One of the blocks, the `pick`th of those there are, goes; then its node gets another. */
  | { readonly kind: "block"; readonly pick: number }
  /** All blocks go that the others have room for. */
  | { readonly kind: "compact" };

export interface Round {
  /** At even intervals. */
  readonly steps: readonly Step[];
  /** What migrators do by themselves. */
  readonly policies: readonly Policy[];
  /** Merged to the end before the audit, or audited as it is. */
  readonly settle: boolean;
}

export interface Plan {
  readonly seconds: number;
  readonly seed: number;
  readonly nodes: number;
  readonly guests: number;
  readonly vcpus: number;
  readonly ksmd: number;
  readonly migrators: number;
  readonly memory_per_node: number;
  readonly block_bytes: number;
  readonly pages_per_guest: number;
  /** Bits that hashes have: with few of them different pages have one often. */
  readonly hash_bits: number;
  /** Contents that all guests write. */
  readonly patterns: number;
  readonly round_ms: number;
  /** By guest and vCPU. */
  readonly vcpu_seeds: readonly (readonly number[])[];
  readonly mover_seed: number;
  /** Begun again after the last. */
  readonly rounds: readonly Round[];
}

const PATTERNS = 16;
const ROUNDS = 64;
const ROUND_MS_MIN = 250;
const ROUND_MS_MAX = 2000;
/** Rounds that the shortest stress has. */
export const ROUNDS_MIN = 4;
const BLOCK_BYTES_MIN = 64 * 1024;
const BLOCK_BYTES_MAX = 64 * 2 ** 20;
/** Blocks of a node at least, where its memory allows. */
const BLOCKS = 8;
/** Blocks of all nodes at least: one that goes leaves its pages to the others, half full as they are. */
const BLOCKS_MIN = 4;
/** Part of all frames that guests can fill: unmerging, moving and removing blocks need room. */
const FILLED = 0.5;
/** A multiple of many numbers of blocks: none of them is picked more often. */
const PICKS = 720_720;
/** Pages of its own that a vCPU has at least. */
const PAGES_MIN = 8;

/** Throws BadInput where guests have no room for their vCPUs' pages, and where no block could go. */
export function makePlan(options: StressOptions): Plan {
  const { seconds, seed, nodes, guests, vcpus, ksmd, migrators, memoryPerNode } = options;
  const blockBytes = blockBytesOf(memoryPerNode);
  const perNode = Math.ceil(memoryPerNode / blockBytes) * blockBytes;
  const pages = Math.floor(((perNode / PAGE_SIZE) * nodes * FILLED) / guests);
  if (pages < PAGES_MIN * vcpus) throw tooSmallForPages(options);
  if ((nodes * perNode) / blockBytes < BLOCKS_MIN) throw tooSmallForBlocks(options);
  const random = new Random(mix(seed, 1));
  return {
    ...{ seconds, seed, nodes, guests, vcpus, ksmd, migrators },
    memory_per_node: perNode,
    block_bytes: blockBytes,
    pages_per_guest: pages,
    hash_bits: random.oneOf([5, 12, 64]),
    patterns: PATTERNS,
    round_ms: roundMs(seconds),
    vcpu_seeds: Array.from({ length: guests }, (_, guest) =>
      Array.from({ length: vcpus }, (_, vcpu) => mix(mix(mix(seed, 2), guest), vcpu)),
    ),
    mover_seed: mix(seed, 3),
    rounds: Array.from({ length: ROUNDS }, () => makeRound(random, guests, pages)),
  };
}

export function planDigest(plan: Plan): string {
  return createHash("sha256").update(JSON.stringify(plan)).digest("hex");
}

function blockBytesOf(memoryPerNode: number): number {
  const wanted = 2 ** Math.floor(Math.log2(memoryPerNode / BLOCKS));
  return Math.min(BLOCK_BYTES_MAX, Math.max(BLOCK_BYTES_MIN, wanted));
}

function roundMs(seconds: number): number {
  if (seconds === 0) return ROUND_MS_MAX;
  const each = Math.floor((seconds * 1000) / ROUNDS_MIN);
  return Math.min(ROUND_MS_MAX, Math.max(ROUND_MS_MIN, each));
}

/** Each kind of step, most of them always, in any order. */
function makeRound(random: Random, guests: number, pages: number): Round {
  const from = random.below(pages);
  const steps: Step[] = [
    { kind: "limit", maxPageSharing: random.oneOf([2, 3, 16, 256]) },
    {
      kind: "pace",
      pagesToScan: random.oneOf([256, 1024, 8192]),
      sleepMillisecs: random.oneOf([0, 1, 4]),
    },
    { kind: "across", mergeAcrossNodes: random.oneOf([0, 1] as const) },
    { kind: "unmerge" },
    {
      kind: "region",
      guest: random.below(guests),
      from,
      to: from + 1 + random.below(pages - from),
    },
    { kind: "block", pick: random.below(PICKS) },
    ...(random.below(2) === 1 ? [{ kind: "compact" } as const] : []),
  ];
  for (let i = steps.length - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [steps[i], steps[other]] = [steps[other] as Step, steps[i] as Step];
  }
  // The others pull together what chaos scatters.
  const others = (["follow", "balance", "compact"] as const).filter(() => random.below(3) === 0);
  return { steps, policies: ["chaos", ...others], settle: random.below(2) === 1 };
}

function tooSmallForPages(options: StressOptions): BadInput {
  const { nodes, guests, vcpus } = options;
  const least = Math.ceil((PAGES_MIN * vcpus * guests * PAGE_SIZE) / FILLED / nodes);
  const wrong = `guests may fill half of it, and ${guests} with ${vcpus} vCPUs each need more`;
  return tooSmall(options, wrong, least);
}

function tooSmallForBlocks(options: StressOptions): BadInput {
  const least = (BLOCKS_MIN * BLOCK_BYTES_MIN) / options.nodes;
  const wrong = `it comes and goes in blocks of ${size(BLOCK_BYTES_MIN)}, and ${BLOCKS_MIN} are needed in all`;
  return tooSmall(options, wrong, least);
}

function tooSmall({ memoryPerNode }: StressOptions, wrong: string, least: number): BadInput {
  const rounded = Math.ceil(least / BLOCK_BYTES_MIN) * BLOCK_BYTES_MIN;
  return new BadInput(
    `--memory-per-node ${memoryPerNode}`,
    wrong,
    `give at least ${rounded} (${size(rounded)})`,
  );
}
