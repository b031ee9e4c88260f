/**
 * stable - merged contents: their nodes, the rings of nodes with equal content, and the counters.
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
 * INVARIANTS
 *   STABLE-1  length = items on the sharer list = items that name the node; a live node has at least one.
 *   STABLE-2  if any node of a ring has room, its front has.
 *   STABLE-3  pages_shared = live nodes; pages_sharing = sharers - nodes; chains = rings of two or more;
 *             dups = nodes in them.
 *   STABLE-4  the generation of a node's id grows each time the id is given out (H2).
 * ORDER   the node is linked before the frame's mapping word names it (mapping.set, O8)
 * MODEL   test/model/merge.test.ts
 * LINUX   stable_tree_append, remove_node_from_stable_tree, chains and dups.
 */
import { assert } from "../base/assert.js";
import { plainLoad, plainStore } from "../base/atomics.js";
import {
  ITEM_VOLATILE,
  ksmMapping,
  ptePfn,
  SHARD_CHAINS,
  SHARD_DUPS,
  SHARD_FREE_NODE,
  SHARD_NEXT_NODE,
  SHARD_PAGES_SHARED,
  SHARD_PAGES_SHARING,
  STABLE_FIRST,
  STABLE_HASH_LOW,
  STABLE_LENGTH,
  STABLE_NEXT_DUP,
  STABLE_PREV_DUP,
  STABLE_STATE,
  WIDE_COMPARES,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { NONE, type Pfn, type Slot, type StableId } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import {
  getStableFrame,
  KEYHOLE_BUSY,
  KEYHOLE_STALE,
  namedFrame,
  nameFrame,
  stableWord,
} from "../mm/keyhole.js";
import { lockPage, trylockPage, unlockPage } from "../mm/page-lock.js";
import { clearMapping } from "../mm/page-mapping.js";
import { readPte } from "../mm/pte.js";
import { firstSharer, linkSharer, unlinkSharer } from "../mm/rmap.js";
import { releaseCandidate } from "./candidate.js";
import {
  contentIsStable,
  contentNumber,
  findContent,
  insertContent,
  NO_CONTENT,
  nextContent,
  replaceContent,
  stableContent,
} from "./content-index.js";
import { hashHigh, nodeOfItem, setStable, setState, stableHashLow } from "./item.js";
import { knobMaxPageSharing } from "./knobs.js";
import {
  addShardWord,
  addWide,
  noteActivity,
  type Shard,
  setBit,
  setShardWord,
  shardWord,
} from "./shard.js";

const LIVE = 1;
const GENERATION_STEP = 2;

function field(memory: Memory, stable: StableId, word: number): number {
  return plainLoad(memory.control, stableWord(memory, stable) + word);
}

function setField(memory: Memory, stable: StableId, word: number, value: number): void {
  plainStore(memory.control, stableWord(memory, stable) + word, value);
}

export function nodeIsLive(memory: Memory, stable: StableId): boolean {
  return (field(memory, stable, STABLE_STATE) & LIVE) !== 0;
}

/** The mapping word of the node's frame. */
export function keyOf(memory: Memory, stable: StableId): number {
  return ksmMapping(stable, field(memory, stable, STABLE_STATE) >>> 1);
}

/** Sharers of the node. */
export function nodeLength(memory: Memory, stable: StableId): number {
  return field(memory, stable, STABLE_LENGTH);
}

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
export function allocNode(shard: Shard, pfn: Pfn, low: number): StableId {
  const { memory } = shard;
  let stable = shardWord(shard, SHARD_FREE_NODE) - 1;
  if (stable === NONE) {
    stable = shardWord(shard, SHARD_NEXT_NODE);
    assert(stable < memory.sizes.stableNodes, "STABLE-1", "more nodes than sharers", stable);
    setShardWord(shard, SHARD_NEXT_NODE, stable + 1);
  } else {
    setShardWord(shard, SHARD_FREE_NODE, nextDup(memory, stable));
  }
  const state = (field(memory, stable, STABLE_STATE) + GENERATION_STEP) | LIVE;
  setField(memory, stable, STABLE_STATE, state);
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
  setField(memory, stable, STABLE_STATE, field(memory, stable, STABLE_STATE) & ~LIVE);
  setField(memory, stable, STABLE_NEXT_DUP, shardWord(shard, SHARD_FREE_NODE));
  setShardWord(shard, SHARD_FREE_NODE, stable + 1);
}

/**
 * Puts a new node, whose frame the caller holds, where look-ups find it: before the front of the ring that
 * has the same content, if there is one (its nodes are full), else into the index as a new content.
 */
export function linkNode(shard: Shard, stable: StableId, pfn: Pfn, high: number): void {
  const { memory, index } = shard;
  const low = stableHashLow(memory, stable);
  for (
    let content = findContent(index, low, high);
    content !== NO_CONTENT;
    content = nextContent(memory, content)
  ) {
    const front = contentNumber(content);
    const compared = contentIsStable(content) ? compareWithNode(shard, front, pfn) : NODE_DIFFERS;
    if (compared === NODE_STALE) {
      // Its ring may have this content, and only its front is gone: begin again without it.
      dropStaleNode(shard, front);
      linkNode(shard, stable, pfn, high);
      return;
    }
    if (compared === NODE_EQUAL) {
      addDup(shard, front, stable, high);
      settleFront(shard, stable, high);
      return;
    }
  }
  insertContent(index, memory, low, high, stableContent(stable));
}

export const NODE_EQUAL = 0;
export const NODE_DIFFERS = 1;
/** The node's frame is gone: drop it, and look again. */
export const NODE_STALE = 2;

/** Are the bytes of the frame those of the node? A frozen node counts as different. */
export function compareWithNode(
  shard: Shard,
  stable: StableId,
  pfn: Pfn,
): typeof NODE_EQUAL | typeof NODE_DIFFERS | typeof NODE_STALE {
  const { memory } = shard;
  const other = frameOfNode(memory, stable);
  if (other === KEYHOLE_STALE) return NODE_STALE;
  if (other === KEYHOLE_BUSY) return NODE_DIFFERS;
  const equal = memory.kernels.equalPages(other, pfn);
  addWide(shard, WIDE_COMPARES, 1);
  putPage(memory, other);
  return equal ? NODE_EQUAL : NODE_DIFFERS;
}

/** Puts a new node before the front of a ring with the same content; it becomes the front. */
function addDup(shard: Shard, front: StableId, stable: StableId, high: number): void {
  const { memory } = shard;
  const alone = nextDup(memory, front) === front;
  addShardWord(shard, SHARD_CHAINS, alone ? 1 : 0);
  addShardWord(shard, SHARD_DUPS, alone ? 2 : 1);
  linkBefore(memory, front, stable);
  setFront(shard, front, stable, high);
}

function linkBefore(memory: Memory, before: StableId, stable: StableId): void {
  const previous = field(memory, before, STABLE_PREV_DUP);
  setField(memory, stable, STABLE_NEXT_DUP, before);
  setField(memory, stable, STABLE_PREV_DUP, previous);
  setField(memory, previous, STABLE_NEXT_DUP, stable);
  setField(memory, before, STABLE_PREV_DUP, stable);
}

function unlinkDup(memory: Memory, stable: StableId): void {
  const previous = field(memory, stable, STABLE_PREV_DUP);
  const next = nextDup(memory, stable);
  setField(memory, previous, STABLE_NEXT_DUP, next);
  setField(memory, next, STABLE_PREV_DUP, previous);
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

/** Takes a node without sharers out of its ring and the index, and gives it back. */
function removeNode(shard: Shard, stable: StableId, high: number): void {
  const { memory } = shard;
  const next = nextDup(memory, stable);
  if (next === stable) {
    const named = setFront(shard, stable, NONE, high);
    assert(named, "INDEX-1", "a lone node is not in the index: node", stable);
  } else {
    setFront(shard, stable, next, high);
    unlinkDup(memory, stable);
    const alone = nextDup(memory, next) === next;
    addShardWord(shard, SHARD_CHAINS, alone ? -1 : 0);
    addShardWord(shard, SHARD_DUPS, alone ? -2 : -1);
  }
  freeNode(shard, stable);
}

// --- sharers --------------------------------------------------------------------------------------

/** Makes the page a sharer of the node. The caller holds the page lock of the node's frame. */
export function addSharer(shard: Shard, stable: StableId, slot: Slot): void {
  const { memory } = shard;
  const length = nodeLength(memory, stable);
  linkSharer(memory, stable, slot);
  setStable(memory, slot, stable);
  setField(memory, stable, STABLE_LENGTH, length + 1);
  addShardWord(shard, length === 0 ? SHARD_PAGES_SHARED : SHARD_PAGES_SHARING, 1);
}

/** After a sharer was added: a front that is full makes way for the next node with room (STABLE-2). */
export function settleFront(shard: Shard, front: StableId, high: number): void {
  const { memory } = shard;
  const next = nextDup(memory, front);
  if (next !== front && !hasRoom(memory, front) && hasRoom(memory, next)) {
    setFront(shard, front, next, high);
  }
}

/**
 * The page left its node: it was written, or unmerged. False: the frame is busy, or was: try again. A migrator has
 * the lock for as long as a shootdown takes: a pass does not wait for it (H11), a command does.
 */
export function leaveNode(shard: Shard, slot: Slot, wait: boolean): boolean {
  const { memory } = shard;
  const stable = nodeOfItem(memory, slot);
  const pfn = frameOfNode(memory, stable);
  if (pfn === KEYHOLE_BUSY) {
    if (wait) waitForFrozen(memory, stable);
    return false;
  }
  if (pfn === KEYHOLE_STALE) {
    dropStaleNode(shard, stable);
    return true;
  }
  const high = hashHigh(memory, slot);
  if (wait) {
    lockPage(memory, pfn);
  } else if (!trylockPage(memory, pfn)) {
    putPage(memory, pfn);
    return false;
  }
  removeSharer(shard, stable, slot);
  disownFrame(memory, stable, pfn);
  unlockPage(memory, pfn);
  putPage(memory, pfn);
  if (nodeLength(memory, stable) === 0) removeNode(shard, stable, high);
  else openNode(shard, stable, high);
  return true;
}

/** Sleeps until the migrator that has frozen the node's frame has done with it: it holds the page lock (REF-3). */
function waitForFrozen(memory: Memory, stable: StableId): void {
  const pfn = namedFrame(memory, stable);
  lockPage(memory, pfn);
  unlockPage(memory, pfn);
}

/**
 * The frame of a node without sharers is nobody's, though somebody passing by may hold it still: else a migrator
 * that gets its lock later walks the list of whatever has the node's number by then, without that one's lock.
 */
function disownFrame(memory: Memory, stable: StableId, pfn: Pfn): void {
  if (nodeLength(memory, stable) === 0) clearMapping(memory, pfn);
}

function removeSharer(shard: Shard, stable: StableId, slot: Slot): void {
  const { memory } = shard;
  const length = nodeLength(memory, stable) - 1;
  unlinkSharer(memory, stable, slot);
  setState(memory, slot, ITEM_VOLATILE);
  setField(memory, stable, STABLE_LENGTH, length);
  addShardWord(shard, length === 0 ? SHARD_PAGES_SHARED : SHARD_PAGES_SHARING, -1);
  noteActivity(shard);
}

/** A node that was full and has room again goes to the front of its ring (STABLE-2). */
function openNode(shard: Shard, stable: StableId, high: number): void {
  const { memory } = shard;
  if (nodeLength(memory, stable) + 1 < knobMaxPageSharing(memory)) return;
  releaseLeftover(shard, stable, high);
  const front = findFront(shard, stable, high);
  if (front === stable) return;
  unlinkDup(memory, stable);
  linkBefore(memory, front, stable);
  setFront(shard, front, stable, high);
}

/** A page that waits because every node of its content was full is placed again: there is room now. */
function releaseLeftover(shard: Shard, stable: StableId, high: number): void {
  const { memory, index } = shard;
  const low = stableHashLow(memory, stable);
  for (
    let content = findContent(index, low, high);
    content !== NO_CONTENT;
    content = nextContent(memory, content)
  ) {
    if (contentIsStable(content)) continue;
    const slot = contentNumber(content);
    const pfn = ptePfn(readPte(memory, slot));
    if (compareWithNode(shard, stable, pfn) !== NODE_EQUAL) continue;
    releaseCandidate(shard, slot);
    return;
  }
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

/** The node's frame is gone: every sharer has left it already. All counters change in this one step (H14). */
export function dropStaleNode(shard: Shard, stable: StableId): void {
  const { memory } = shard;
  const high = hashHigh(memory, firstSharer(memory, stable));
  for (let slot = firstSharer(memory, stable); slot !== NONE; slot = firstSharer(memory, stable)) {
    removeSharer(shard, stable, slot);
    setBit(memory, memory.layout.pending, slot);
  }
  removeNode(shard, stable, high);
}

/** Gives every node below `end` back: nothing is merged any more. Generations go on. */
export function retireNodes(shard: Shard, end: StableId): void {
  for (let stable = 0; stable < end; stable++) {
    if (nodeIsLive(shard.memory, stable)) freeNode(shard, stable);
  }
}
