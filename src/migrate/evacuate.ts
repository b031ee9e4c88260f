/**
 * evacuate - emptying a block that goes offline: what is free is isolated, what limbo holds is freed, the rest moves.
 *
 *        isolate what is free -> drain limbo -> isolate -> move a slice of what is held -> isolate
 *
 * A round is short; whoever asked for it asks again until every frame is isolated, or gives up and says why. Frames
 * go to other blocks of their own node while it has room, then to any node.
 * MODEL   test/model/blocks.test.ts
 */
import type { Block, Memory } from "../base/memory.js";
import { type Nid, NONE } from "../base/units.js";
import { freeFrames } from "../mm/frames.js";
import { beginRound, endRound, heldFrames, isolateFree } from "../mm/isolate.js";
import { drainAllLimbo } from "../mm/limbo.js";
import { BATCH_FRAMES, type MigrationBatch, type Tally } from "./batch.js";
import { migrateFrames } from "./migrate.js";

/** Frames that a round moves at most. */
const ROUND_FRAMES = 16 * BATCH_FRAMES;

/**
 * One round on block `number`; returns how many of its frames are isolated by now. NONE: it is not OFFLINE any more.
 */
export function evacuateRound(
  memory: Memory,
  number: number,
  batch: MigrationBatch,
  tally: Tally,
): number {
  if (!beginRound(memory, number)) return NONE;
  const isolated = workRound(memory, number, batch, tally);
  endRound(memory, number);
  return isolated;
}

function workRound(memory: Memory, number: number, batch: MigrationBatch, tally: Tally): number {
  const { frames } = memory.blockLayout;
  if (isolateFree(memory, number) === frames) return frames;
  // Not by their counts: a frame in limbo is mapped by nobody, and is moved by nobody.
  drainAllLimbo(memory, memory.patience.scanMs);
  if (isolateFree(memory, number) === frames) return frames;
  const pfns = new Int32Array(ROUND_FRAMES);
  const held = heldFrames(memory, number, pfns);
  const { nid } = memory.blocks[number] as Block;
  const to = roomyNode(memory, nid);
  migrateFrames(memory, pfns.subarray(0, held), to === NONE ? nid : to, batch, tally);
  return isolateFree(memory, number);
}

/** The node itself if it has a free frame, else the one that has most; NONE: none has any. */
function roomyNode(memory: Memory, nid: Nid): Nid {
  if (freeFrames(memory, nid) > 0) return nid;
  let best: Nid = NONE;
  let most = 0;
  for (let node = 0; node < memory.sizes.nodes; node++) {
    const free = freeFrames(memory, node);
    if (free > most) [best, most] = [node, free];
  }
  return best;
}
