/**
 * visit - what ksmd does with one page: forget what it was, or hash and place what it is.
 *
 * OWNS    the pending bitmap
 *
 *   first seen            becomes VOLATILE; looked at again in the next pass, as in the kernel
 *   hot (had D)           leaves its node or the index
 *   quiet, pending        hashed in a batch, in place, under a frame reference; the hash is trusted if the
 *                         pte read again afterwards is the same word; then placed: most of those that go onto
 *                         a stable node together (ksm/aim.ts), the others one by one (ksm/place.ts)
 *   not pending           nothing: its hash is trusted and it has its place. Such pages cost one bit.
 *
 * INVARIANTS
 *   VISIT-1  not pending => the item is UNSTABLE or STABLE, or the page has D, or it is not mergeable.
 *   VISIT-2  a page through which no writable translation and no write pin was made is hashed once.
 * MODEL   test/model/harvest.test.ts
 */
import {
  ITEM_STABLE,
  ITEM_UNSEEN,
  ITEM_UNSTABLE,
  ITEM_VOLATILE,
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
import { leaveNode } from "./stable.js";

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
    settlePage(shard, slot, placePage(shard, slot));
    return batched;
  }
  return batchPage(shard, slot, batched);
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
  setHash(memory, slot, batch.hashes[2 * i] as number, batch.hashes[2 * i + 1] as number);
  setTrustedState(memory, slot, ITEM_VOLATILE);
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
