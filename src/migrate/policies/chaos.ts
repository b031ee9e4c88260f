/**
 * chaos - frames move at random: any that is used to any node, its own included (to another frame of it). Half of
 * each plan are merged frames with several sharers, as long as it knows of any: what goes wrong, goes wrong there.
 *
 * Such frames may be few among many. It remembers the stable nodes that it has come across, which keep their number
 * when their frame moves, and looks at some more frames for each plan.
 */
import { MAPPING_TAG_KSM, mappingId, mappingTag } from "../../base/layout.js";
import { framesEnd, isFrame, type Memory, nodeOf } from "../../base/memory.js";
import { NONE, type Pfn, type StableId } from "../../base/units.js";
import { namedFrame } from "../../mm/keyhole.js";
import { readMapping } from "../../mm/page-mapping.js";
import { mapcount } from "../../mm/page-ref.js";
import { BATCH_FRAMES } from "../batch.js";
import { nextBelow } from "./chance.js";
import { beginPlan, isUsed, type Planner, planMove } from "./plan.js";

/** Frames that each plan looks at for merged ones. */
const SEARCHED = 2048;
/** Stable nodes that are remembered at most. */
const REMEMBERED = 1024;
/** Frames that are drawn until one is used, and frames after the last of them that are looked at where few are. */
const DRAWS = 16;
const REACH = 64;

/** Plans a batch; true: the lap of this policy ends, which each of its plans is. */
export function planChaos(memory: Memory, planner: Planner): boolean {
  beginPlan(memory, planner);
  search(memory, planner);
  for (let tries = 0; tries < BATCH_FRAMES / 2 && planner.shared.length > 0; tries++) {
    const pfn = takeShared(memory, planner);
    if (pfn !== NONE && !isPlanned(planner, pfn)) planRandomly(memory, planner, pfn);
  }
  const others = planner.count === 0 ? BATCH_FRAMES / 2 : planner.count;
  for (let i = 0; i < others; i++) {
    const pfn = randomUsed(memory, planner);
    if (pfn !== NONE && !isPlanned(planner, pfn)) planRandomly(memory, planner, pfn);
  }
  return true;
}

function planRandomly(memory: Memory, planner: Planner, pfn: Pfn): void {
  const { chance, nodes } = planner;
  const to = nextBelow(chance, memory.sizes.nodes);
  // A full node refuses all; another frame of its own node is a move too.
  planMove(memory, planner, pfn, (nodes.free[to] as number) > 0 ? to : nodeOf(memory, pfn));
}

/** The stable node of a merged frame with several sharers; NONE: it is none. */
function sharedNode(memory: Memory, pfn: Pfn): StableId {
  if (!isFrame(memory, pfn)) return NONE;
  const mapping = readMapping(memory, pfn);
  if (mappingTag(mapping) !== MAPPING_TAG_KSM || mapcount(memory, pfn) < 2) return NONE;
  return mappingId(mapping);
}

/** Looks at the next frames, of all shares: there may be few merged ones, and each migrator wants some. */
function search(memory: Memory, planner: Planner): void {
  const { chance, shared, sharedSeen } = planner;
  const frames = framesEnd(memory);
  for (let looks = Math.min(SEARCHED, frames); looks > 0; looks--) {
    const stable = sharedNode(memory, planner.chaosNext);
    planner.chaosNext = (planner.chaosNext + 1) % frames;
    if (stable === NONE || sharedSeen.has(stable)) continue;
    sharedSeen.add(stable);
    if (shared.length < REMEMBERED) shared.push(stable);
    else forget(planner, nextBelow(chance, REMEMBERED), stable);
  }
}

/** Puts another in the place of a remembered one; NONE: the last. */
function forget(planner: Planner, at: number, instead: StableId | typeof NONE): void {
  const { shared, sharedSeen } = planner;
  sharedSeen.delete(shared[at] as StableId);
  const next = instead === NONE ? shared.pop() : instead;
  if (at < shared.length) shared[at] = next as StableId;
}

/** A merged frame at random; NONE: what was remembered is none any more. */
function takeShared(memory: Memory, planner: Planner): Pfn {
  const at = nextBelow(planner.chance, planner.shared.length);
  const stable = planner.shared[at] as StableId;
  const pfn = namedFrame(memory, stable);
  if (sharedNode(memory, pfn) === stable) return pfn;
  forget(planner, at, NONE);
  return NONE;
}

/** A used frame of this migrator's share at random; NONE: none was near. */
function randomUsed(memory: Memory, planner: Planner): Pfn {
  const { chance, share, shares } = planner;
  const own = Math.ceil(framesEnd(memory) / shares);
  let pfn: Pfn = NONE;
  for (let draw = 0; draw < DRAWS; draw++) {
    pfn = nextBelow(chance, own) * shares + share;
    if (isUsed(memory, pfn)) return pfn;
  }
  for (let step = 0; step < REACH; step++) {
    pfn += shares;
    if (isUsed(memory, pfn)) return pfn;
  }
  return NONE;
}

function isPlanned(planner: Planner, pfn: Pfn): boolean {
  return planner.pfns.subarray(0, planner.count).includes(pfn);
}
