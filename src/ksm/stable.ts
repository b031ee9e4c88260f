/**
 * stable - merged contents: their nodes, and the rings of nodes with equal content (their pages: ksm/sharers.ts).
 *
 * OWNS    stable.state, stable.length, stable.nextDup, stable.prevDup, stable.hashLow
 *
 * A stable node is one merged frame with its sharers. Contents that outgrow max_page_sharing have several
 * nodes ("dups"), linked in a ring; the index names the ring's front. Nodes with room come first in the
 * ring, so a look-up finds room, or knows that there is none, at the front: O(1) whatever the limit.
 *
 *        index --> front (room) <-> node (room) <-> node (full) <-> node (full) <-> (front)
 *
 * A node is dropped when its last sharer leaves, or when its frame is found to be gone (the keyhole).
 *
 * A node whose place is not known stands on the migrate list, in no ring and not in the index: its frame was
 * moved to a node that it is not the tree of, or its twin could not be looked at. It gets its place when one of
 * its pages is visited (ksm/replace.ts). The list is a ring through the same words; a word of the shard names
 * its first node.
 *
 * INVARIANTS
 *   STABLE-1  length = items on the sharer list = items that name the node; a live node has at least one.
 *   STABLE-2  if any node of a ring has room, its front has.
 *   STABLE-3  pages_shared = live nodes; pages_sharing = sharers - nodes; chains = rings of two or more;
 *             dups = nodes in them. Nodes on the migrate list count in the first two alone.
 *   STABLE-4  the generation of a node's id grows each time the id is given out (H2).
 *   STABLE-5  a live node is on the migrate list, with a page that is pending or marked as moved; or it is in one
 *             ring, of nodes of its tree and with its hash.
 * MODEL   test/model/merge.test.ts
 * LINUX   struct ksm_stable_node, chains and dups, migrate_nodes.
 */
import { assert } from "../base/assert.js";
import { plainLoad, plainStore } from "../base/atomics.js";
import {
  ksmMapping,
  makeStableState,
  SHARD_CHAINS,
  SHARD_DUPS,
  SHARD_FREE_NODE,
  SHARD_MIGRATE_LIST,
  SHARD_NEXT_NODE,
  STABLE_FIRST,
  STABLE_HASH_LOW,
  STABLE_LENGTH,
  STABLE_LISTED,
  STABLE_LIVE,
  STABLE_NEXT_DUP,
  STABLE_PREV_DUP,
  STABLE_STATE,
  stableGeneration,
  stableTree,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type Nid, NONE, type Pfn, type StableId } from "../base/units.js";
import { getStableFrame, nameFrame, stableWord } from "../mm/keyhole.js";
import { firstSharer, nextSharer } from "../mm/rmap.js";
import {
  contentIsStable,
  contentNumber,
  findContent,
  NO_CONTENT,
  nextContent,
  replaceContent,
  stableContent,
} from "./content-index.js";
import { hashHigh, setHashHigh, stableHashLow } from "./item.js";
import { knobMaxPageSharing } from "./knobs.js";
import { addShardWord, noteActivity, type Shard, setShardWord, shardWord } from "./shard.js";

function field(memory: Memory, stable: StableId, word: number): number {
  return plainLoad(memory.control, stableWord(memory, stable) + word);
}

function setField(memory: Memory, stable: StableId, word: number, value: number): void {
  plainStore(memory.control, stableWord(memory, stable) + word, value);
}

export function nodeIsLive(memory: Memory, stable: StableId): boolean {
  return (field(memory, stable, STABLE_STATE) & STABLE_LIVE) !== 0;
}

/** Is it on the migrate list? */
export function nodeIsListed(memory: Memory, stable: StableId): boolean {
  return (field(memory, stable, STABLE_STATE) & STABLE_LISTED) !== 0;
}

/** The tree in which it has its place, or had before it was listed. */
export function treeOfNode(memory: Memory, stable: StableId): Nid {
  return stableTree(field(memory, stable, STABLE_STATE));
}

/** The mapping word of the node's frame. */
export function keyOf(memory: Memory, stable: StableId): number {
  return ksmMapping(stable, stableGeneration(field(memory, stable, STABLE_STATE)));
}

/** Sharers of the node. */
export function nodeLength(memory: Memory, stable: StableId): number {
  return field(memory, stable, STABLE_LENGTH);
}

export function setNodeLength(memory: Memory, stable: StableId, length: number): void {
  setField(memory, stable, STABLE_LENGTH, length);
}

/** The node after it in its ring, or on the migrate list; the last one's is the first. */
export function nextDup(memory: Memory, stable: StableId): StableId {
  return field(memory, stable, STABLE_NEXT_DUP);
}

export function hasRoom(memory: Memory, stable: StableId): boolean {
  return nodeLength(memory, stable) < knobMaxPageSharing(memory);
}

/** Takes a reference on the node's frame: a frame, KEYHOLE_STALE or KEYHOLE_BUSY. */
export function frameOfNode(memory: Memory, stable: StableId): Pfn {
  return getStableFrame(memory, stable, keyOf(memory, stable));
}

// --- making and dropping nodes --------------------------------------------------------------------

/** Gives out a node for the frame, not yet linked anywhere. The table has one for every page there can be. */
export function allocNode(shard: Shard, pfn: Pfn, low: number, tree: Nid): StableId {
  const { memory } = shard;
  let stable = shardWord(shard, SHARD_FREE_NODE) - 1;
  if (stable === NONE) {
    stable = shardWord(shard, SHARD_NEXT_NODE);
    assert(stable < memory.sizes.stableNodes, "STABLE-1", "more nodes than sharers", stable);
    setShardWord(shard, SHARD_NEXT_NODE, stable + 1);
  } else {
    setShardWord(shard, SHARD_FREE_NODE, nextDup(memory, stable));
  }
  const generation = stableGeneration(field(memory, stable, STABLE_STATE)) + 1;
  setField(memory, stable, STABLE_STATE, makeStableState(generation, tree, STABLE_LIVE));
  setField(memory, stable, STABLE_FIRST, 0);
  setField(memory, stable, STABLE_LENGTH, 0);
  setField(memory, stable, STABLE_NEXT_DUP, stable);
  setField(memory, stable, STABLE_PREV_DUP, stable);
  setField(memory, stable, STABLE_HASH_LOW, low);
  nameFrame(memory, stable, pfn);
  return stable;
}

/** Gives back a node that is linked nowhere. */
function freeNode(shard: Shard, stable: StableId): void {
  const { memory } = shard;
  const generation = stableGeneration(field(memory, stable, STABLE_STATE));
  setField(memory, stable, STABLE_STATE, makeStableState(generation, 0, 0));
  setField(memory, stable, STABLE_NEXT_DUP, shardWord(shard, SHARD_FREE_NODE));
  setShardWord(shard, SHARD_FREE_NODE, stable + 1);
}

/** Puts a node that is in no ring into that of `front`: as its front if it has room, else as its last. */
export function joinRing(shard: Shard, stable: StableId, front: StableId, high: number): void {
  const { memory } = shard;
  const alone = nextDup(memory, front) === front;
  addShardWord(shard, SHARD_CHAINS, alone ? 1 : 0);
  addShardWord(shard, SHARD_DUPS, alone ? 2 : 1);
  linkBefore(memory, front, stable);
  if (hasRoom(memory, stable)) setFront(shard, front, stable, high);
}

function linkBefore(memory: Memory, before: StableId, stable: StableId): void {
  const previous = field(memory, before, STABLE_PREV_DUP);
  setField(memory, stable, STABLE_NEXT_DUP, before);
  setField(memory, stable, STABLE_PREV_DUP, previous);
  setField(memory, previous, STABLE_NEXT_DUP, stable);
  setField(memory, before, STABLE_PREV_DUP, stable);
}

/** Takes the node out of its ring, or off the migrate list: it is alone. */
function unlinkDup(memory: Memory, stable: StableId): void {
  const previous = field(memory, stable, STABLE_PREV_DUP);
  const next = nextDup(memory, stable);
  setField(memory, previous, STABLE_NEXT_DUP, next);
  setField(memory, next, STABLE_PREV_DUP, previous);
  setField(memory, stable, STABLE_NEXT_DUP, stable);
  setField(memory, stable, STABLE_PREV_DUP, stable);
}

/** Makes the index name `fresh` where it named `front`; false: `front` was not the front. */
function setFront(
  shard: Shard,
  front: StableId,
  fresh: StableId | typeof NONE,
  high: number,
): boolean {
  const low = stableHashLow(shard.memory, front);
  const content = fresh === NONE ? NO_CONTENT : stableContent(fresh);
  return replaceContent(shard.index, shard.memory, low, high, stableContent(front), content);
}

/** Takes a node without sharers out of its ring and the index, or off the list, and gives it back. */
export function removeNode(shard: Shard, stable: StableId, high: number): void {
  if (nodeIsListed(shard.memory, stable)) unlistNode(shard, stable);
  else leaveRing(shard, stable, high);
  freeNode(shard, stable);
}

function leaveRing(shard: Shard, stable: StableId, high: number): void {
  const { memory } = shard;
  const next = nextDup(memory, stable);
  if (next === stable) {
    const named = setFront(shard, stable, NONE, high);
    assert(named, "INDEX-1", "a lone node is not in the index: node", stable);
    return;
  }
  setFront(shard, stable, next, high);
  unlinkDup(memory, stable);
  const alone = nextDup(memory, next) === next;
  addShardWord(shard, SHARD_CHAINS, alone ? -1 : 0);
  addShardWord(shard, SHARD_DUPS, alone ? -2 : -1);
}

// --- the migrate list -----------------------------------------------------------------------------

/** Takes a node whose frame was moved out of its ring and the index, and puts it on the list. */
export function parkNode(shard: Shard, stable: StableId, high: number): void {
  leaveRing(shard, stable, high);
  listNode(shard, stable);
  noteActivity(shard);
}

/** Puts a node on the list that is in no ring. */
export function listNode(shard: Shard, stable: StableId): void {
  const { memory } = shard;
  const first = shardWord(shard, SHARD_MIGRATE_LIST) - 1;
  if (first !== NONE) linkBefore(memory, first, stable);
  setShardWord(shard, SHARD_MIGRATE_LIST, stable + 1);
  setField(memory, stable, STABLE_STATE, field(memory, stable, STABLE_STATE) | STABLE_LISTED);
}

function unlistNode(shard: Shard, stable: StableId): void {
  const { memory } = shard;
  const next = nextDup(memory, stable);
  if (shardWord(shard, SHARD_MIGRATE_LIST) === stable + 1) {
    setShardWord(shard, SHARD_MIGRATE_LIST, next === stable ? 0 : next + 1);
  }
  unlinkDup(memory, stable);
  setField(memory, stable, STABLE_STATE, field(memory, stable, STABLE_STATE) & ~STABLE_LISTED);
}

/** Takes the node off the list. Its place is in this list of contents of this tree: the caller links it there. */
export function setPlace(
  shard: Shard,
  stable: StableId,
  tree: Nid,
  low: number,
  high: number,
): void {
  const { memory } = shard;
  unlistNode(shard, stable);
  const generation = stableGeneration(field(memory, stable, STABLE_STATE));
  setField(memory, stable, STABLE_STATE, makeStableState(generation, tree, STABLE_LIVE));
  setField(memory, stable, STABLE_HASH_LOW, low);
  const first = firstSharer(memory, stable);
  // The same in every sharer, and nearly always what it was.
  if (hashHigh(memory, first) === high) return;
  for (let slot = first; slot !== NONE; slot = nextSharer(memory, slot)) {
    setHashHigh(memory, slot, high);
  }
}

// --- fronts ---------------------------------------------------------------------------------------

/** After a sharer was added: a front that is full makes way for the next node with room (STABLE-2). */
export function settleFront(shard: Shard, front: StableId, high: number): void {
  const { memory } = shard;
  const next = nextDup(memory, front);
  if (next !== front && !hasRoom(memory, front) && hasRoom(memory, next)) {
    setFront(shard, front, next, high);
  }
}

/** A node that was full and has room again goes to the front of its ring (STABLE-2). */
export function bringToFront(shard: Shard, stable: StableId, high: number): void {
  const { memory } = shard;
  const front = findFront(shard, stable, high);
  if (front === stable) return;
  unlinkDup(memory, stable);
  linkBefore(memory, front, stable);
  setFront(shard, front, stable, high);
}

/** The node of the ring that the index names. */
function findFront(shard: Shard, stable: StableId, high: number): StableId {
  const { memory, index } = shard;
  const low = stableHashLow(memory, stable);
  let front: StableId = NONE;
  for (
    let content = findContent(index, low, high);
    content !== NO_CONTENT;
    content = nextContent(memory, content)
  ) {
    if (!contentIsStable(content)) continue;
    if (front !== NONE) return walkToFront(shard, stable, high);
    front = contentNumber(content);
  }
  assert(front !== NONE, "INDEX-1", "a ring has no front: node", stable);
  return front;
}

/** The same where several rings have one hash: whichever of this ring's nodes is named. */
function walkToFront(shard: Shard, stable: StableId, high: number): StableId {
  const { memory } = shard;
  let node = stable;
  // Naming a node by itself changes nothing, and tells whether it was named.
  while (!setFront(shard, node, node, high)) {
    node = nextDup(memory, node);
    assert(node !== stable, "INDEX-1", "a ring has no front: node", stable);
  }
  return node;
}

/** Gives every node below `end` back: their frames are gone. Generations go on. */
export function retireNodes(shard: Shard, end: StableId): void {
  for (let stable = 0; stable < end; stable++) {
    if (nodeIsLive(shard.memory, stable)) freeNode(shard, stable);
  }
}
