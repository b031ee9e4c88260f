/**
 * balance - the nodes' parts of free frames come within BALANCE_SPREAD of each other: frames go from the fullest node
 * to the emptiest until these two are, and then from those that are by then. Frames that are not at home on the full
 * node go first; the others in a lap of their own after that.
 *
 * Every migrator plans its part of what is to be moved, so that all together do not move more.
 */
import type { Memory } from "../../base/memory.js";
import { nodeOf } from "../../base/memory.js";
import { NONE, type Pfn } from "../../base/units.js";
import { BATCH_FRAMES } from "../batch.js";
import { homeOfFrame } from "./home.js";
import {
  beginPlan,
  extremeNode,
  freeShare,
  isUsed,
  LOOKS,
  type NodeFrames,
  nextInShare,
  type Planner,
  planMove,
} from "./plan.js";

/** Between the largest and the smallest part of free frames. */
const BALANCE_SPREAD = 0.1;

/** Plans a batch; true: there is nothing to move, or a lap has tried whatever might be. */
export function planBalance(memory: Memory, planner: Planner): boolean {
  beginPlan(memory, planner);
  const { nodes } = planner;
  const full = extremeNode(nodes, 1);
  const empty = extremeNode(nodes, -1);
  const excess = excessOf(nodes, full, empty);
  if (excess === 0) {
    planner.balanceAny = false;
    planner.balanceNext = planner.share;
    return true;
  }
  const own = Math.floor((excess + planner.shares - 1 - planner.share) / planner.shares);
  const wanted = Math.min(BATCH_FRAMES, own);
  if (wanted === 0) return true;
  for (let looks = LOOKS; looks > 0; looks--) {
    const pfn = planner.balanceNext;
    planner.balanceNext = nextInShare(memory, planner, pfn);
    if (isUsed(memory, pfn) && nodeOf(memory, pfn) === full) {
      if (planner.balanceAny || isRemote(memory, planner, pfn)) {
        planMove(memory, planner, pfn, empty);
      }
    }
    if (planner.balanceNext <= pfn) {
      planner.balanceAny = !planner.balanceAny;
      return !planner.balanceAny;
    }
    if (planner.count === wanted) return false;
  }
  return false;
}

/** Is it certain that the frame is not at home? */
function isRemote(memory: Memory, planner: Planner, pfn: Pfn): boolean {
  const home = homeOfFrame(memory, pfn, planner.votes);
  return home !== NONE && home !== nodeOf(memory, pfn);
}

/** Frames that have to go from one node to the other until these two are balanced. */
function excessOf(nodes: NodeFrames, full: number, empty: number): number {
  const fullTotal = nodes.total[full] as number;
  const emptyTotal = nodes.total[empty] as number;
  const spread = freeShare(nodes, empty) - freeShare(nodes, full);
  if (spread <= BALANCE_SPREAD) return 0;
  // Each frame closes the gap by what it is of either node.
  return Math.ceil((spread - BALANCE_SPREAD) / (1 / fullTotal + 1 / emptyTotal));
}
