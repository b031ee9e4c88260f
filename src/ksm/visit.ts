/**
 * visit - what ksmd does with one page: forget what it was, or hash and place what it is.
 *
 * OWNS    the pending bitmap
 *
 *   first seen            becomes VOLATILE; looked at again in the next pass, as in the kernel
 *   hot (had D)           leaves its node or the index
 *   quiet, was moved      keeps its place if that is in the tree of its frame's node; a candidate leaves the index,
 *                         to be hashed and placed in its tree, a stable node gets another place (ksm/replace.ts)
 *   quiet, pending        hashed in a batch, in place, under a frame reference; the hash is trusted if the
 *                         pte read again afterwards is the same word; then placed: most of those that go onto
 *                         a stable node together (ksm/aim.ts), the others one by one (ksm/place.ts)
 *   not pending           nothing: its hash is trusted and it has its place. Such pages cost one bit.
 *
 * INVARIANTS
 *   VISIT-1  not pending => the item is UNSTABLE or STABLE, or the page has D, or it is not mergeable.
 *   VISIT-2  a page through which no writable translation and no write pin was made is hashed once, and again for
 *            each tree that it comes to.
 * MODEL   test/model/harvest.test.ts
 */
import {
  ITEM_STABLE,
  ITEM_UNSEEN,
  ITEM_UNSTABLE,
  ITEM_VOLATILE,
  PTE_MERGED,
  ptePfn,
  SHARD_RETRIES,
  SHARD_REWRITTEN,
  SHARD_RMAP_ITEMS,
  WIDE_PAGES_HASHED,
} from "../base/layout.js";
import type { Slot } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { readPte } from "../mm/pte.js";
import { aimBatch, mergeAimed } from "./aim.js";
import { dropCandidate } from "./candidate.js";
import { hashIsTrusted, setHash, setState, setTrustedState, stateOf } from "./item.js";
import { BUSY, CHANGED, holdQuietPage, MERGED } from "./merge.js";
import { placePage } from "./place.js";
import { settleNode } from "./replace.js";
import {
  addShardWord,
  addWide,
  BATCH_PAGES,
  clearBit,
  getBit,
  noteActivity,
  type Shard,
  setBit,
} from "./shard.js";
import { leaveNode } from "./sharers.js";
import { hashInTree, isInTree, treeOfFrame } from "./tree.js";

/** Visits a pending page; returns how many pages the batch holds now. */
export function visitPage(shard: Shard, slot: Slot, batched: number): number {
  const { memory } = shard;
  const { hot } = memory.layout;
  const state = stateOf(memory, slot);
  if (state === ITEM_UNSEEN) {
    setState(memory, slot, ITEM_VOLATILE);
    addShardWord(shard, SHARD_RMAP_ITEMS, 1);
    noteActivity(shard);
    // Not before the next pass, however quiet it is.
    setBit(memory, hot, slot);
    return batched;
  }
  const wasHot = getBit(memory, hot, slot);
  if (wasHot) addShardWord(shard, SHARD_REWRITTEN, 1);
  else if (keepsPlace(shard, slot, state)) return batched;
  if (!losePlace(shard, slot, state)) {
    addShardWord(shard, SHARD_RETRIES, 1);
    return batched;
  }
  if (wasHot) {
    // Also of a page that was hashed and found no place yet: its hash is that of the old bytes.
    setState(memory, slot, ITEM_VOLATILE);
    return batched;
  }
  if (hashIsTrusted(memory, slot)) {
    if (isInTree(memory, slot)) {
      settlePage(shard, slot, placePage(shard, slot));
      return batched;
    }
    setState(memory, slot, ITEM_VOLATILE);
  }
  return batchPage(shard, slot, batched);
}

/** A page that nobody wrote: is there nothing more to do with it in this round? */
function keepsPlace(shard: Shard, slot: Slot, state: number): boolean {
  const { memory } = shard;
  let settled = false;
  if (state === ITEM_UNSTABLE) {
    settled = isInTree(memory, slot);
    if (!settled) return false;
  } else if (state === ITEM_STABLE && (readPte(memory, slot) & PTE_MERGED) !== 0) {
    settled = settleNode(shard, slot);
  } else {
    return false;
  }
  if (settled) clearBit(memory, memory.layout.pending, slot);
  else addShardWord(shard, SHARD_RETRIES, 1);
  return true;
}

/** Takes the page off its node or out of the index, where it was with its old bytes. False: busy. */
function losePlace(shard: Shard, slot: Slot, state: number): boolean {
  if (state === ITEM_UNSTABLE) dropCandidate(shard, slot);
  return state === ITEM_STABLE ? leaveNode(shard, slot, false) : true;
}

/** Adds the page to the batch, holding its frame; hashes and places the batch when it is full. */
function batchPage(shard: Shard, slot: Slot, batched: number): number {
  const { memory, batch } = shard;
  const pte = readPte(memory, slot);
  const held = holdQuietPage(memory, slot, pte);
  if (held !== MERGED) {
    addShardWord(shard, held === BUSY ? SHARD_RETRIES : SHARD_REWRITTEN, 1);
    return batched;
  }
  batch.slots[batched] = slot;
  batch.ptes[batched] = pte;
  batch.pfns[batched] = ptePfn(pte);
  if (batched + 1 < BATCH_PAGES) return batched + 1;
  finishBatch(shard, BATCH_PAGES);
  return 0;
}

/** Hashes the pages of the batch and places them. */
export function finishBatch(shard: Shard, count: number): void {
  if (count === 0) return;
  const { memory, batch } = shard;
  memory.kernels.hashPages(batch.pfns, count, batch.hashes);
  addWide(shard, WIDE_PAGES_HASHED, count);
  for (let i = 0; i < count; i++) takeHash(shard, i);
  aimBatch(shard, count);
  for (let i = 0; i < count; i++) {
    const slot = batch.slots[i] as number;
    const outcome = mergeAimed(shard, i);
    if (outcome !== null) settlePage(shard, slot, outcome);
    else if (hashIsTrusted(memory, slot)) settlePage(shard, slot, placePage(shard, slot));
  }
}

/**
 * The hash counts if nobody can have written the page while it was read (a stale one would be permanent); then the
 * frame stays held, until the page is aimed at something, or not (ksm/aim.ts).
 */
function takeHash(shard: Shard, i: number): void {
  const { memory, batch } = shard;
  const slot = batch.slots[i] as number;
  const unchanged = readPte(memory, slot) === batch.ptes[i];
  noteActivity(shard);
  if (!unchanged) {
    putPage(memory, batch.pfns[i] as number);
    addShardWord(shard, SHARD_REWRITTEN, 1);
    return;
  }
  // Held, the frame is not moved: this is its tree for as long as that matters to the batch.
  const tree = treeOfFrame(memory, batch.pfns[i] as number);
  batch.hashes[2 * i] = hashInTree(batch.hashes[2 * i] as number, tree);
  setHash(memory, slot, batch.hashes[2 * i] as number, batch.hashes[2 * i + 1] as number);
  setTrustedState(memory, slot, ITEM_VOLATILE, tree);
}

/** After a try to place the page, whose hash is trusted: it stays pending if that failed. */
function settlePage(shard: Shard, slot: Slot, outcome: number): void {
  const { memory } = shard;
  if (outcome === BUSY) {
    addShardWord(shard, SHARD_RETRIES, 1);
  } else if (outcome === CHANGED) {
    setState(memory, slot, ITEM_VOLATILE);
    addShardWord(shard, SHARD_REWRITTEN, 1);
  } else {
    clearBit(memory, memory.layout.pending, slot);
    noteActivity(shard);
  }
}
