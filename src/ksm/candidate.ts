/**
 * candidate - pages that found no equal yet: the unstable side of the index.
 *
 * A candidate is a quiet page whose hash is trusted. Unlike the kernel's unstable tree it does not expire:
 * it stays until it is merged, or until a look-up or a harvest finds that it was written.
 */
import { ITEM_UNSTABLE, ITEM_VOLATILE, SHARD_PAGES_UNSHARED } from "../base/layout.js";
import type { Slot } from "../base/units.js";
import { candidateContent, insertContent, removeContent } from "./content-index.js";
import { hashHigh, hashLow, setHash, setState, setTrustedState, treeOfItem } from "./item.js";
import { addShardWord, type Shard, setBit } from "./shard.js";

/** Puts the page, whose hash is trusted, into the index as a candidate. */
export function addCandidate(shard: Shard, slot: Slot): void {
  const { memory, index } = shard;
  const content = candidateContent(slot);
  insertContent(index, memory, hashLow(memory, slot), hashHigh(memory, slot), content);
  setTrustedState(memory, slot, ITEM_UNSTABLE, treeOfItem(memory, slot));
  addShardWord(shard, SHARD_PAGES_UNSHARED, 1);
}

/** Takes the candidate out of the index. */
export function dropCandidate(shard: Shard, slot: Slot): void {
  const { memory, index } = shard;
  const content = candidateContent(slot);
  removeContent(index, memory, hashLow(memory, slot), hashHigh(memory, slot), content);
  setState(memory, slot, ITEM_VOLATILE);
  addShardWord(shard, SHARD_PAGES_UNSHARED, -1);
}

/** Takes the candidate out of the index to be placed again, soon; its hash stays trusted. */
export function releaseCandidate(shard: Shard, slot: Slot): void {
  const { memory } = shard;
  const low = hashLow(memory, slot);
  const high = hashHigh(memory, slot);
  const tree = treeOfItem(memory, slot);
  dropCandidate(shard, slot);
  setHash(memory, slot, low, high);
  setTrustedState(memory, slot, ITEM_VOLATILE, tree);
  setBit(memory, memory.layout.pending, slot);
}
