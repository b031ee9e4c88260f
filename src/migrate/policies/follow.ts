/**
 * follow - a frame drifts to the node that uses it: the home of its guest, a shared frame to where most of its pages
 * are at home. A tie with the node where it lies leaves it there.
 *
 * A move never makes the nodes' parts of free frames differ by more than FOLLOW_SPREAD, unless it takes from a fuller
 * node, while `balance` is on: what that has moved away stays away. Half of what balance allows, so that several
 * migrators, each with a plan that the others do not see, do not come to it together.
 */
import type { Memory } from "../../base/memory.js";
import { nodeOf } from "../../base/memory.js";
import { type Nid, NONE } from "../../base/units.js";
import { BATCH_FRAMES } from "../batch.js";
import { homeOfFrame } from "./home.js";
import {
  beginPlan,
  freeShare,
  freeSpread,
  isUsed,
  LOOKS,
  nextInShare,
  type Planner,
  planMove,
} from "./plan.js";
import { policyIsActive } from "./policy.js";

/** Between the largest and the smallest part of free frames. */
const FOLLOW_SPREAD = 0.05;

/** Plans a batch; true: every frame has been looked at since the last time. */
export function planFollow(memory: Memory, planner: Planner): boolean {
  beginPlan(memory, planner);
  const balanced = policyIsActive(memory, "balance");
  const room = balanced ? roomOf(planner) : BATCH_FRAMES;
  for (let looks = LOOKS; looks > 0; looks--) {
    const pfn = planner.followNext;
    planner.followNext = nextInShare(memory, planner, pfn);
    if (isUsed(memory, pfn)) {
      const home = homeOfFrame(memory, pfn, planner.votes);
      const here = nodeOf(memory, pfn);
      if (home !== NONE && home !== here && mayMove(planner, here, home, balanced)) {
        planMove(memory, planner, pfn, home);
      }
    }
    if (planner.followNext <= pfn) return true;
    if (planner.count === room) return false;
  }
  return false;
}

/** Frames of a plan, so that those of all migrators together come to FOLLOW_SPREAD of the smallest node at most. */
function roomOf({ nodes, shares }: Planner): number {
  const smallest = Math.min(...nodes.total.filter((frames) => frames > 0));
  const part = Math.floor((smallest * FOLLOW_SPREAD) / shares);
  return Math.max(1, Math.min(BATCH_FRAMES, part));
}

function mayMove(planner: Planner, from: Nid, to: Nid, balanced: boolean): boolean {
  const { nodes } = planner;
  if ((nodes.free[to] as number) <= 0) return false;
  if (!balanced || freeShare(nodes, from) < freeShare(nodes, to)) return true;
  nodes.free[from]++;
  nodes.free[to]--;
  const spread = freeSpread(nodes);
  nodes.free[from]--;
  nodes.free[to]++;
  return spread <= FOLLOW_SPREAD;
}
