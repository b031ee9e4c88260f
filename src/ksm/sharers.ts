/**
 * sharers - the pages of stable nodes: how they come, how they leave, and what becomes of the node then.
 *
 * OWNS    nothing: it changes lists, nodes and items through their owners
 *
 *      page --- addSharer, under the frame's page lock ---> on the node's list, STABLE
 *      page <-- leaveNode, written or unmerged, under the lock; the last one takes the node with it
 *      all  <-- dropStaleNode: the frame is gone, so nobody else can reach the list
 *
 * INVARIANTS  STABLE-1 to STABLE-5 (ksm/stable.ts)
 * ORDER   the node is linked before the frame's mapping word names it (mapping.set, O8)
 * LOCKS   the page lock of the node's frame: a pass tries it (H11), a command waits for it
 * MODEL   test/model/merge.test.ts
 * LINUX   stable_tree_append, remove_rmap_item_from_tree, remove_node_from_stable_tree.
 */
import {
  ITEM_VOLATILE,
  PTE_NONE,
  ptePfn,
  SHARD_MIGRATE_LIST,
  SHARD_PAGES_SHARED,
  SHARD_PAGES_SHARING,
  WIDE_COMPARES,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { NONE, type Pfn, type Slot, type StableId } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { KEYHOLE_BUSY, KEYHOLE_STALE, namedFrame } from "../mm/keyhole.js";
import { lockPage, trylockPage, unlockPage } from "../mm/page-lock.js";
import { clearMapping } from "../mm/page-mapping.js";
import { readPte } from "../mm/pte.js";
import { firstSharer, linkSharer, nextSharer, unlinkSharer } from "../mm/rmap.js";
import { releaseCandidate } from "./candidate.js";
import {
  contentIsStable,
  contentNumber,
  findContent,
  insertContent,
  NO_CONTENT,
  nextContent,
  stableContent,
} from "./content-index.js";
import { hashHigh, nodeOfItem, setStable, setState, stableHashLow, treeOfItem } from "./item.js";
import { knobMaxPageSharing } from "./knobs.js";
import { addShardWord, addWide, noteActivity, type Shard, setBit, shardWord } from "./shard.js";
import {
  bringToFront,
  frameOfNode,
  joinRing,
  listNode,
  nextDup,
  nodeIsListed,
  nodeLength,
  removeNode,
  setNodeLength,
  treeOfNode,
} from "./stable.js";

/** Makes the page a sharer of the node. The caller holds the page lock of the node's frame. */
export function addSharer(shard: Shard, stable: StableId, slot: Slot): void {
  const { memory } = shard;
  const length = nodeLength(memory, stable);
  linkSharer(memory, stable, slot);
  setStable(memory, slot, stable);
  setNodeLength(memory, stable, length + 1);
  addShardWord(shard, length === 0 ? SHARD_PAGES_SHARED : SHARD_PAGES_SHARING, 1);
}

/** Takes the page off the node's list. The caller holds the page lock of the node's frame, unless that is gone. */
export function removeSharer(shard: Shard, stable: StableId, slot: Slot): void {
  const { memory } = shard;
  const length = nodeLength(memory, stable) - 1;
  unlinkSharer(memory, stable, slot);
  setState(memory, slot, ITEM_VOLATILE);
  setNodeLength(memory, stable, length);
  addShardWord(shard, length === 0 ? SHARD_PAGES_SHARED : SHARD_PAGES_SHARING, -1);
  noteActivity(shard);
}

/** Takes all pages off the node's list, to be visited; as removeSharer. */
export function removeSharers(shard: Shard, stable: StableId): void {
  const { memory } = shard;
  for (let slot = firstSharer(memory, stable); slot !== NONE; slot = firstSharer(memory, stable)) {
    removeSharer(shard, stable, slot);
    setBit(memory, memory.layout.pending, slot);
  }
}

// --- looking at a node, and linking a new one --------------------------------------------------------

export const NODE_EQUAL = 0;
export const NODE_DIFFERS = 1;
/** The node's frame is gone: drop it, and look again. */
export const NODE_STALE = 2;
/** The node's frame is frozen: nothing is known. */
export const NODE_BUSY = 3;

/** Are the bytes of the frame those of the node? */
export function compareWithNode(
  shard: Shard,
  stable: StableId,
  pfn: Pfn,
): typeof NODE_EQUAL | typeof NODE_DIFFERS | typeof NODE_STALE | typeof NODE_BUSY {
  const { memory } = shard;
  const other = frameOfNode(memory, stable);
  if (other === KEYHOLE_STALE) return NODE_STALE;
  if (other === KEYHOLE_BUSY) return NODE_BUSY;
  const equal = memory.kernels.equalPages(other, pfn);
  addWide(shard, WIDE_COMPARES, 1);
  putPage(memory, other);
  return equal ? NODE_EQUAL : NODE_DIFFERS;
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
    if (!contentIsStable(content)) continue;
    const front = contentNumber(content);
    if (treeOfNode(memory, front) !== treeOfNode(memory, stable)) continue;
    const compared = compareWithNode(shard, front, pfn);
    if (compared === NODE_STALE) {
      // Its ring may have this content, and only its front is gone: begin again without it.
      dropStaleNode(shard, front);
      linkNode(shard, stable, pfn, high);
      return;
    }
    if (compared === NODE_EQUAL) {
      joinRing(shard, stable, front, high);
      return;
    }
    if (compared === NODE_BUSY) {
      linkLater(shard, stable);
      return;
    }
  }
  insertContent(index, memory, low, high, stableContent(stable));
}

/** Its twin may be the frozen node: until that can be looked at it waits, as a node that was moved does. */
function linkLater(shard: Shard, stable: StableId): void {
  const { memory } = shard;
  listNode(shard, stable);
  for (let slot = firstSharer(memory, stable); slot !== NONE; slot = nextSharer(memory, slot)) {
    setBit(memory, memory.layout.pending, slot);
  }
}

// --- leaving ---------------------------------------------------------------------------------------

/**
 * The page left its node: it was written, or unmerged. False: the frame is busy, try again later. A migrator has
 * the lock for as long as a shootdown takes: a pass does not wait for it (H11), a command does.
 */
export function leaveNode(shard: Shard, slot: Slot, wait: boolean): boolean {
  const { memory } = shard;
  const stable = nodeOfItem(memory, slot);
  const pfn = frameOfNode(memory, stable);
  if (pfn === KEYHOLE_BUSY) {
    if (wait) awaitFreeze(memory, stable);
    return false;
  }
  if (pfn === KEYHOLE_STALE) {
    dropStaleNode(shard, stable);
    return true;
  }
  const high = hashHigh(memory, slot);
  if (!takeLock(memory, pfn, wait)) return false;
  removeSharer(shard, stable, slot);
  disownFrame(memory, stable, pfn);
  unlockPage(memory, pfn);
  putPage(memory, pfn);
  if (nodeLength(memory, stable) === 0) removeNode(shard, stable, high);
  else openNode(shard, stable, high);
  return true;
}

/** Locks a frame that the caller holds; false: somebody else has the lock, and the frame was put. */
function takeLock(memory: Memory, pfn: Pfn, wait: boolean): boolean {
  if (wait) lockPage(memory, pfn);
  else if (!trylockPage(memory, pfn)) {
    putPage(memory, pfn);
    return false;
  }
  return true;
}

/**
 * The frame of a node without sharers is nobody's, though somebody passing by may hold it still: else a migrator
 * that gets its lock later walks the list of whatever has the node's number by then, without that one's lock.
 */
function disownFrame(memory: Memory, stable: StableId, pfn: Pfn): void {
  if (nodeLength(memory, stable) === 0) clearMapping(memory, pfn);
}

/** Sleeps while the node's frame, which the keyhole found frozen, is being moved: who freezes it has its lock. */
export function awaitFreeze(memory: Memory, stable: StableId): void {
  // Of this frame nothing is known when the lock is ours. It may be anybody's, who finds it locked for a moment.
  const pfn = namedFrame(memory, stable);
  lockPage(memory, pfn);
  unlockPage(memory, pfn);
}

/** A node that was full and has room again goes to the front of its ring (STABLE-2). */
function openNode(shard: Shard, stable: StableId, high: number): void {
  const { memory } = shard;
  if (nodeLength(memory, stable) + 1 < knobMaxPageSharing(memory)) return;
  if (nodeIsListed(memory, stable)) return;
  releaseLeftover(shard, stable, high);
  bringToFront(shard, stable, high);
}

/** A page that waits because every node of its content was full is placed again: there is room now. */
export function releaseLeftover(shard: Shard, stable: StableId, high: number): void {
  const { memory, index } = shard;
  const low = stableHashLow(memory, stable);
  let content = findContent(index, low, high);
  while (content !== NO_CONTENT) {
    const next = nextContent(memory, content);
    const slot = contentNumber(content);
    const isOfTree =
      !contentIsStable(content) && treeOfItem(memory, slot) === treeOfNode(memory, stable);
    const pte = isOfTree ? readPte(memory, slot) : PTE_NONE;
    const compared = isOfTree ? compareWithNode(shard, stable, ptePfn(pte)) : NODE_DIFFERS;
    // A page that is being moved, or a frozen node, may be equal: placed again it loses nothing.
    const known = compared === NODE_EQUAL || compared === NODE_DIFFERS;
    if (compared === NODE_EQUAL || !known || (isOfTree && readPte(memory, slot) !== pte)) {
      releaseCandidate(shard, slot);
    }
    if (compared === NODE_EQUAL) return;
    content = next;
  }
}

/** The node's frame is gone: every sharer has left it already. All counters change in this one step (H14). */
export function dropStaleNode(shard: Shard, stable: StableId): void {
  const high = hashHigh(shard.memory, firstSharer(shard.memory, stable));
  removeSharers(shard, stable);
  removeNode(shard, stable, high);
}

/**
 * Nobody maps the node's frame: drops the node if somebody holds that still. A migrator that has its lock walks the
 * list: false, it is busy. With `wait` only if it is frozen.
 */
export function abandonNode(shard: Shard, stable: StableId, wait: boolean): boolean {
  const { memory } = shard;
  const pfn = frameOfNode(memory, stable);
  if (pfn === KEYHOLE_BUSY) return false;
  if (pfn === KEYHOLE_STALE) return true;
  const high = hashHigh(memory, firstSharer(memory, stable));
  if (!takeLock(memory, pfn, wait)) return false;
  removeSharers(shard, stable);
  disownFrame(memory, stable, pfn);
  unlockPage(memory, pfn);
  putPage(memory, pfn);
  removeNode(shard, stable, high);
  return true;
}

/** Drops the nodes of the migrate list whose frames are gone: if their guests are left out, nobody visits them. */
export function pruneList(shard: Shard): void {
  const { memory } = shard;
  const first = shardWord(shard, SHARD_MIGRATE_LIST) - 1;
  if (first === NONE) return;
  for (let stable = nextDup(memory, first); stable !== first; ) {
    const next = nextDup(memory, stable);
    pruneNode(shard, stable);
    stable = next;
  }
  pruneNode(shard, first);
}

function pruneNode(shard: Shard, stable: StableId): void {
  const pfn = frameOfNode(shard.memory, stable);
  if (pfn === KEYHOLE_STALE) dropStaleNode(shard, stable);
  else if (pfn !== KEYHOLE_BUSY) putPage(shard.memory, pfn);
}
