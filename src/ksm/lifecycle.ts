/**
 * lifecycle - regions that become mergeable or stop being so, and run = 2.
 *
 * OWNS    the mergeable bitmap; the reset of items, nodes, counters and index after an unmerge of everything
 *
 * Executed by ksmd between steps, so no page is in a batch meanwhile. A region's flag falls only after
 * every page of it is private (H34); a failure leaves it, and the call may be repeated.
 *
 * INVARIANTS
 *   LIFE-1  a page that is not mergeable has no item, is in no index and on no node, and is not merged.
 *   LIFE-2  a node is given back when no page maps its frame, and nobody can reach its sharer list through it: the
 *           frame is gone, or its mapping word was cleared under its page lock.
 * MODEL   test/model/unmerge.test.ts
 * LINUX   ksm_madvise, unmerge_and_remove_all_rmap_items.
 */
import { plainStore } from "../base/atomics.js";
import {
  ITEM_STABLE,
  ITEM_UNSEEN,
  ITEM_UNSTABLE,
  ITEM_VOLATILE,
  ITEM_WORDS,
  SCAN_IDLE,
  SHARD_CHAINS,
  SHARD_DUPS,
  SHARD_FULL_SCANS,
  SHARD_MIGRATE_LIST,
  SHARD_NEXT_NODE,
  SHARD_PAGES_SHARED,
  SHARD_PAGES_SHARING,
  SHARD_PAGES_UNSHARED,
  SHARD_PHASE,
  SHARD_QUIET_AT,
  SHARD_RMAP_ITEMS,
  SHARD_SETTLED_AT,
} from "../base/layout.js";
import type { Gfn, GuestId, Slot, StableId } from "../base/units.js";
import { guestBase, guestCount, guestIsLive, guestPages } from "../mm/guest.js";
import { itemWord } from "../mm/rmap.js";
import { dropCandidate } from "./candidate.js";
import { clearIndex } from "./content-index.js";
import { setState, stateOf } from "./item.js";
import {
  addShardWord,
  clearBit,
  getBit,
  type Shard,
  setBit,
  setShardWord,
  shardWord,
} from "./shard.js";
import { abandonNode, awaitFreeze, leaveNode } from "./sharers.js";
import { nodeIsLive, retireNodes } from "./stable.js";
import { UNMERGE_BUSY, UNMERGED, type UnmergeOutcome, unmergeRange } from "./unmerge.js";

/** Pages [from, to) of the guest may be merged from now on. */
export function makeMergeable(shard: Shard, guest: GuestId, from: Gfn, to: Gfn): void {
  const { memory } = shard;
  const base = guestBase(memory, guest);
  for (let slot = base + from; slot < base + to; slot++) {
    // Asked for twice it changes nothing: a page that was merged has its place, and must not be given another.
    if (getBit(memory, memory.layout.mergeable, slot)) continue;
    setBit(memory, memory.layout.mergeable, slot);
    setBit(memory, memory.layout.pending, slot);
  }
}

/** Unmerges pages [from, to) of the guest; they may not be merged from now on. */
export function makeUnmergeable(shard: Shard, guest: GuestId, from: Gfn, to: Gfn): UnmergeOutcome {
  const { memory } = shard;
  const outcome = unmergeRange(memory, guest, from, to, shard.batch);
  if (outcome !== UNMERGED) return outcome;
  const base = guestBase(memory, guest);
  for (let slot = base + from; slot < base + to; slot++) {
    if (!forgetItem(shard, slot)) return UNMERGE_BUSY;
    // Given up at a later page, all of them may be merged still, and are looked at anew.
    setBit(memory, memory.layout.pending, slot);
  }
  for (let slot = base + from; slot < base + to; slot++) {
    clearBit(memory, memory.layout.mergeable, slot);
    clearBit(memory, memory.layout.visit, slot);
  }
  return UNMERGED;
}

/** How often a command waits for a frame that it finds frozen; each time for one migrator to end with it. */
const FREEZES_MAX = 64;

/** Drops the item of a page that is not merged any more. False: migrators do not let go of its node's frame. */
function forgetItem(shard: Shard, slot: Slot): boolean {
  const { memory } = shard;
  const state = stateOf(memory, slot);
  if (state === ITEM_UNSEEN) return true;
  if (state === ITEM_UNSTABLE) dropCandidate(shard, slot);
  if (state === ITEM_STABLE) {
    let tries = FREEZES_MAX;
    while (!leaveNode(shard, slot, true)) if (--tries === 0) return false;
  }
  setState(memory, slot, ITEM_UNSEEN);
  addShardWord(shard, SHARD_RMAP_ITEMS, -1);
  return true;
}

/** run = 2: gives every merged page a frame of its own, then forgets all that scanning learned. */
export function unmergeEverything(shard: Shard): UnmergeOutcome {
  const { memory } = shard;
  // Guests created meanwhile come at the end, and are reached (H29).
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (!guestIsLive(memory, guest)) continue;
    const outcome = unmergeRange(memory, guest, 0, guestPages(memory, guest), shard.batch);
    if (outcome !== UNMERGED) return outcome;
  }
  if (!abandonNodes(shard)) return UNMERGE_BUSY;
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (guestIsLive(memory, guest)) resetItems(shard, guest);
  }
  clearIndex(shard.index);
  retireNodes(shard, shardWord(shard, SHARD_NEXT_NODE));
  for (const word of RESET_WORDS) setShardWord(shard, word, 0);
  setShardWord(shard, SHARD_PHASE, SCAN_IDLE);
  return UNMERGED;
}

/**
 * Nothing is merged any more: drops the nodes whose frames somebody still holds; the others' frames are gone. A node
 * that is stuck does not keep the rest. False: one stays frozen, and the call may be repeated.
 */
function abandonNodes(shard: Shard): boolean {
  const { memory } = shard;
  const end = shardWord(shard, SHARD_NEXT_NODE);
  const stuck: StableId[] = [];
  for (let stable = 0; stable < end; stable++) {
    if (nodeIsLive(memory, stable) && !abandonNode(shard, stable, false)) stuck.push(stable);
  }
  for (const stable of stuck) {
    let tries = FREEZES_MAX;
    while (!abandonNode(shard, stable, true)) {
      if (--tries === 0) return false;
      awaitFreeze(memory, stable);
    }
  }
  return true;
}

/** merge_across_nodes has changed while nothing is merged: every page is hashed and placed anew (H27). */
export function replantItems(shard: Shard): void {
  const { memory } = shard;
  clearIndex(shard.index);
  setShardWord(shard, SHARD_PAGES_UNSHARED, 0);
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (!guestIsLive(memory, guest)) continue;
    const base = guestBase(memory, guest);
    for (let slot = base; slot < base + guestPages(memory, guest); slot++) {
      if (stateOf(memory, slot) === ITEM_UNSEEN) continue;
      setState(memory, slot, ITEM_VOLATILE);
      setBit(memory, memory.layout.pending, slot);
    }
  }
}

const RESET_WORDS = [
  SHARD_FULL_SCANS,
  SHARD_SETTLED_AT,
  SHARD_QUIET_AT,
  SHARD_PAGES_SHARED,
  SHARD_PAGES_SHARING,
  SHARD_PAGES_UNSHARED,
  SHARD_RMAP_ITEMS,
  SHARD_CHAINS,
  SHARD_DUPS,
  SHARD_MIGRATE_LIST,
];

/** Forgets the guest's items; every page is looked at anew. */
function resetItems(shard: Shard, guest: GuestId): void {
  const { memory } = shard;
  const { control, layout } = memory;
  const base = guestBase(memory, guest);
  const end = base + guestPages(memory, guest);
  for (let word = itemWord(memory, base); word < itemWord(memory, end); word += ITEM_WORDS) {
    for (let field = 0; field < ITEM_WORDS; field++) plainStore(control, word + field, 0);
  }
  for (let slot = base; slot < end; slot += 32)
    plainStore(control, layout.pending + (slot >>> 5), -1);
}
