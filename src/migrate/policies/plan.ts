/**
 * plan - a migrator's private record of what it is about to move, and of where it stands in each policy.
 *
 * Migrators share the work by frames: of `shares` migrators, number `share` looks at each frame whose pfn leaves
 * that remainder. A frame that changes its number may change its migrator; two that meet at one frame leave it where
 * it is, and one of them gets it in a later lap.
 */
import { MAPPING_NOBODY } from "../../base/layout.js";
import { framesEnd, isFrame, type Memory, nodeOf } from "../../base/memory.js";
import type { Nid, Pfn, StableId } from "../../base/units.js";
import { freeFrames } from "../../mm/frames.js";
import { nodeFrames } from "../../mm/isolate.js";
import { readMapping } from "../../mm/page-mapping.js";
import { mapcount } from "../../mm/page-ref.js";
import { BATCH_FRAMES, type MigrationBatch, type Tally } from "../batch.js";
import { migrateFrames } from "../migrate.js";
import type { Chance } from "./chance.js";

/** Frames that one plan looks at: a fraction of a millisecond. */
export const LOOKS = 8192;

/** Frames of nodes, as a plan would leave them. */
export interface NodeFrames {
  readonly total: Int32Array;
  readonly free: Int32Array;
}

/** What a policy plans with; its own marks are kept from plan to plan. */
export interface Planner {
  readonly share: number;
  readonly shares: number;
  readonly chance: Chance;
  readonly nodes: NodeFrames;
  /** By node: pages of a frame that are at home there. */
  readonly votes: Int32Array;
  /** The plan: frames, and the node that each is to lie on. */
  count: number;
  readonly pfns: Int32Array;
  readonly targets: Int32Array;
  /** Where the next look of each policy begins. */
  followNext: Pfn;
  balanceNext: Pfn;
  chaosNext: Pfn;
  /** balance: in this lap frames that are at home on the full node go too. */
  balanceAny: boolean;
  /** chaos: stable nodes with several sharers that it has come across. */
  readonly shared: StableId[];
  readonly sharedSeen: Set<StableId>;
}

export function createPlanner(
  memory: Memory,
  share: number,
  shares: number,
  seed: number,
): Planner {
  const { nodes } = memory.sizes;
  return {
    share,
    shares,
    chance: { state: seed },
    nodes: { total: new Int32Array(nodes), free: new Int32Array(nodes) },
    votes: new Int32Array(nodes),
    count: 0,
    pfns: new Int32Array(BATCH_FRAMES),
    targets: new Int32Array(BATCH_FRAMES),
    followNext: share,
    balanceNext: share,
    chaosNext: 0,
    balanceAny: false,
    shared: [],
    sharedSeen: new Set(),
  };
}

/** Begins a plan: nothing in it, and the nodes' frames as they are. */
export function beginPlan(memory: Memory, planner: Planner): void {
  planner.count = 0;
  for (let nid = 0; nid < memory.sizes.nodes; nid++) {
    planner.nodes.total[nid] = nodeFrames(memory, nid);
    planner.nodes.free[nid] = freeFrames(memory, nid);
  }
}

/** Adds a frame to the plan, which has room. */
export function planMove(memory: Memory, planner: Planner, pfn: Pfn, to: Nid): void {
  const { free } = planner.nodes;
  planner.pfns[planner.count] = pfn;
  planner.targets[planner.count] = to;
  planner.count++;
  free[nodeOf(memory, pfn)]++;
  free[to]--;
}

/** Is there such a frame, and does a page lie in it? Advice: it may be another's a moment later. */
export function isUsed(memory: Memory, pfn: Pfn): boolean {
  return (
    isFrame(memory, pfn) && readMapping(memory, pfn) !== MAPPING_NOBODY && mapcount(memory, pfn) > 0
  );
}

/** The frame after `pfn` in this migrator's share; beyond the last it is the share's first. */
export function nextInShare(memory: Memory, planner: Planner, pfn: Pfn): Pfn {
  const next = pfn + planner.shares;
  return next < framesEnd(memory) ? next : planner.share;
}

/** Moves what is planned, a batch for each node; adds what each frame came to to `tally`. */
export function movePlanned(
  memory: Memory,
  planner: Planner,
  batch: MigrationBatch,
  tally: Tally,
): void {
  for (let nid = 0; nid < memory.sizes.nodes; nid++) {
    const pfns: Pfn[] = [];
    for (let i = 0; i < planner.count; i++) {
      if (planner.targets[i] === nid) pfns.push(planner.pfns[i] as Pfn);
    }
    migrateFrames(memory, pfns, nid, batch, tally);
  }
}

/** A node's part of frames that are free, from 0 to 1; a node without frames has none to give. */
export function freeShare(nodes: NodeFrames, nid: Nid): number {
  const total = nodes.total[nid] as number;
  return total === 0 ? 0 : (nodes.free[nid] as number) / total;
}

/** The node with the smallest part of free frames, or, `sign` -1, with the largest. */
export function extremeNode(nodes: NodeFrames, sign: 1 | -1): Nid {
  let found: Nid = 0;
  for (let nid = 1; nid < nodes.total.length; nid++) {
    if (nodes.total[nid] === 0) continue;
    const less = sign * (freeShare(nodes, nid) - freeShare(nodes, found)) < 0;
    if (nodes.total[found] === 0 || less) found = nid;
  }
  return found;
}

/** By how much the largest part of free frames exceeds the smallest. */
export function freeSpread(nodes: NodeFrames): number {
  return freeShare(nodes, extremeNode(nodes, -1)) - freeShare(nodes, extremeNode(nodes, 1));
}
