/**
 * hot-remove - what ksmd forgets before a block goes.
 *
 * Every frame of the block is isolated, so a stable node that names one has lost it, and nobody has noticed yet.
 * Such nodes are found by the number that they name; the frames' records are about to go, and are not looked at (H93).
 * From LEAVING on a block does not come back into use before every thread has let go of it.
 * MODEL   test/model/blocks.test.ts
 * LINUX   ksm_check_stable_tree, called by ksm_memory_callback.
 */
import { SHARD_NEXT_NODE } from "../base/layout.js";
import { namedFrame } from "../mm/keyhole.js";
import { type Shard, shardWord } from "./shard.js";
import { dropStaleNode } from "./sharers.js";
import { nodeIsLive } from "./stable.js";

/** Drops every stable node that names a frame of block `number`. Executed by ksmd between batches. */
export function forgetBlock(shard: Shard, number: number): void {
  const { memory } = shard;
  const end = shardWord(shard, SHARD_NEXT_NODE);
  for (let stable = 0; stable < end; stable++) {
    if (!nodeIsLive(memory, stable)) continue;
    const named = namedFrame(memory, stable) >>> memory.sizes.framesPerBlockShift;
    if (named === number) dropStaleNode(shard, stable);
  }
}
