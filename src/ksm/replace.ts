/**
 * replace - another place for a stable node whose frame was moved to another node (merge_across_nodes 0).
 *
 * OWNS    nothing: it changes ptes, lists and nodes through their owners
 *
 * A migrator moves a frame and its name; where the node stands, it may not touch. ksmd learns of the move when
 * one of the node's pages is visited, or when another page is about to be merged onto the frame; the latter
 * only takes the node off the index (ksm/place.ts). Its place it gets here, when one of its pages is visited:
 *
 *      frame held and locked; hashed anew; the contents of its tree that have this hash:
 *        no equal                              linked as a new content
 *        an equal node with room, one mapping  that page goes onto the equal node; this one is dropped
 *        an equal node otherwise               joins its ring: a dup
 *        an equal node, itself misplaced       that one is listed, and it is asked again
 *        a page that waits, equal              is placed again, and finds this node
 *      a frame is busy                         the node stays on the list, the page pending
 *
 * While the frame is held it is not moved; when it is let go it may be, and is marked again.
 *
 * INVARIANTS
 *   REPLACE-1  a page that leaves its node here maps a frame with the same 4,096 bytes, of the same node.
 *   REPLACE-2  whatever happens, the node is on the list or has its place, once (H25).
 * ORDER   pte.cas, mapping.own
 * LOCKS   the page lock of the frame, and then that of the equal node's frame: both are tried (H11)
 * MODEL   test/model/replace.test.ts
 * LINUX   stable_tree_search with page_node on migrate_nodes.
 */
import {
  makePte,
  PTE_MERGED,
  PTE_PRESENT,
  ptePfn,
  WIDE_COMPARES,
  WIDE_PAGES_MERGED,
} from "../base/layout.js";
import { type Nid, NONE, type Pfn, type Slot, type StableId } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { guestBase, guestFamily, guestOfSlot } from "../mm/guest.js";
import { KEYHOLE_BUSY, KEYHOLE_STALE } from "../mm/keyhole.js";
import { pushLimbo } from "../mm/limbo.js";
import { trylockPage, unlockPage } from "../mm/page-lock.js";
import { ownFrame } from "../mm/page-mapping.js";
import { addMapping, dropMapping, getPage, mapcount } from "../mm/page-ref.js";
import { casPte, readPte } from "../mm/pte.js";
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
import { hashHigh, nodeOfItem, setHashHigh, treeOfItem } from "./item.js";
import { endsHere, rehashFrame } from "./rehash.js";
import { addWide, noteActivity, type Shard } from "./shard.js";
import {
  addSharer,
  dropStaleNode,
  releaseLeftover,
  removeSharer,
  removeSharers,
} from "./sharers.js";
import {
  frameOfNode,
  hasRoom,
  joinRing,
  nodeIsListed,
  parkNode,
  removeNode,
  setPlace,
  settleFront,
  treeOfNode,
} from "./stable.js";
import { hashInTree, treeOfFrame } from "./tree.js";

/** A node on its way to its place: its frame, held and locked, the tree of that, the page that is visited. */
interface Moved {
  readonly stable: StableId;
  readonly pfn: Pfn;
  readonly tree: Nid;
  readonly slot: Slot;
}

/** A page on a stable node is visited, and was not written: sees to it that the node has its place. False: busy. */
export function settleNode(shard: Shard, slot: Slot): boolean {
  const { memory } = shard;
  const stable = nodeOfItem(memory, slot);
  const pfn = frameOfNode(memory, stable);
  if (pfn === KEYHOLE_BUSY) return false;
  if (pfn === KEYHOLE_STALE) {
    dropStaleNode(shard, stable);
    return false;
  }
  // Held, the frame is where it is: nobody freezes it now.
  const tree = treeOfFrame(memory, pfn);
  let settled = true;
  if (nodeIsListed(memory, stable) || treeOfNode(memory, stable) !== tree) {
    if (!nodeIsListed(memory, stable)) parkNode(shard, stable, hashHigh(memory, slot));
    // With the lock there is no migrator between its two walks: mapcount counts every page (H11: not waited for).
    settled = trylockPage(memory, pfn);
    if (settled) {
      settled = placeNode(shard, { stable, pfn, tree, slot });
      unlockPage(memory, pfn);
    }
  }
  putPage(memory, pfn);
  return settled;
}

/** Finds the node its place. False: something is busy, and it stays on the list. */
function placeNode(shard: Shard, node: Moved): boolean {
  const { memory, single } = shard;
  const { stable, pfn, tree } = node;
  single.pfns[0] = pfn;
  memory.kernels.hashPages(single.pfns, 1, single.hashes);
  const way = [hashInTree(single.hashes[0] as number, tree), single.hashes[1] as number];
  for (let level = 1; ; level++) {
    const [low, high] = way as [number, number];
    const twin = findTwin(shard, node, low, high);
    if (twin === TWIN_BUSY) return false;
    if (twin >= 0) return joinTwin(shard, node, twin, low, high);
    if (twin === TWIN_WAITS || endsHere(shard, level, low, high)) {
      setPlace(shard, stable, tree, low, high);
      insertContent(shard.index, memory, low, high, stableContent(stable));
      noteActivity(shard);
      return true;
    }
    rehashFrame(memory, pfn, way);
  }
}

/** No content of the list is equal. */
const TWIN_NONE = NONE;
/** Pages wait here that are equal: the node's place is here too. */
const TWIN_WAITS = -2;
/** A frame is frozen, or being moved: nothing is known. */
const TWIN_BUSY = -3;

/** The front of the ring that has the node's content, of those with this hash in its tree; or one of the above. */
function findTwin(shard: Shard, node: Moved, low: number, high: number): StableId {
  const { memory, index } = shard;
  let outcome = TWIN_NONE;
  let content = findContent(index, low, high);
  while (content !== NO_CONTENT) {
    const number = contentNumber(content);
    const next = nextContent(memory, content);
    const looked = contentIsStable(content)
      ? lookAtNode(shard, node, number, high)
      : lookAtCandidate(shard, node, number);
    if (looked === LOOK_BUSY) return TWIN_BUSY;
    if (looked === LOOK_EQUAL && contentIsStable(content)) return number;
    if (looked === LOOK_EQUAL) outcome = TWIN_WAITS;
    // Dropped, or listed: the next node of its ring is in its place, or nothing.
    content = looked === LOOK_AGAIN ? findContent(index, low, high) : next;
  }
  return outcome;
}

const LOOK_DIFFERS = 0;
const LOOK_EQUAL = 1;
const LOOK_BUSY = 2;
/** The list has changed. */
const LOOK_AGAIN = 3;
type Look = typeof LOOK_DIFFERS | typeof LOOK_EQUAL | typeof LOOK_BUSY | typeof LOOK_AGAIN;

function lookAtNode(shard: Shard, { pfn, tree }: Moved, front: StableId, high: number): Look {
  const { memory } = shard;
  if (treeOfNode(memory, front) !== tree) return LOOK_DIFFERS;
  const other = frameOfNode(memory, front);
  if (other === KEYHOLE_BUSY) return LOOK_BUSY;
  if (other === KEYHOLE_STALE) {
    dropStaleNode(shard, front);
    return LOOK_AGAIN;
  }
  const equal = framesEqual(shard, pfn, other);
  const misplaced = treeOfFrame(memory, other) !== tree;
  putPage(memory, other);
  if (!equal) return LOOK_DIFFERS;
  if (!misplaced) return LOOK_EQUAL;
  parkNode(shard, front, high);
  return LOOK_AGAIN;
}

/** An equal page that waits is placed again, if there is room for it. */
function lookAtCandidate(shard: Shard, { stable, pfn, tree }: Moved, candidate: Slot): Look {
  const { memory } = shard;
  if (treeOfItem(memory, candidate) !== tree) return LOOK_DIFFERS;
  const pte = readPte(memory, candidate);
  const equal = framesEqual(shard, pfn, ptePfn(pte));
  // The frame was not held: it is what was compared only if the page still is in it.
  if (readPte(memory, candidate) !== pte) return LOOK_BUSY;
  if (!equal) return LOOK_DIFFERS;
  if (hasRoom(memory, stable)) releaseCandidate(shard, candidate);
  return LOOK_EQUAL;
}

function framesEqual(shard: Shard, a: Pfn, b: Pfn): boolean {
  addWide(shard, WIDE_COMPARES, 1);
  return shard.memory.kernels.equalPages(a, b);
}

/** The node meets its equal: its one page goes there, or it becomes a dup (H19). False: busy. */
function joinTwin(shard: Shard, node: Moved, twin: StableId, low: number, high: number): boolean {
  const { memory } = shard;
  if (hasRoom(memory, twin) && mapcount(memory, node.pfn) <= 1) {
    return mergeAway(shard, node, twin, high);
  }
  setPlace(shard, node.stable, node.tree, low, high);
  // A page may wait there because the twin is full; it was not looked at.
  if (hasRoom(memory, node.stable)) releaseLeftover(shard, node.stable, high);
  joinRing(shard, node.stable, twin, high);
  noteActivity(shard);
  return true;
}

/** The last page of the node goes onto its twin, and the node is dropped. False: busy. */
function mergeAway(shard: Shard, node: Moved, twin: StableId, high: number): boolean {
  const { memory } = shard;
  const { stable, slot, pfn, tree } = node;
  const target = frameOfNode(memory, twin);
  if (target < 0) return false;
  // Not held since it was looked at: a frame that was moved meanwhile is not merged onto.
  if (treeOfFrame(memory, target) !== tree || !trylockPage(memory, target)) {
    putPage(memory, target);
    return false;
  }
  const moved = redirectMerged(shard, slot, pfn, target);
  if (moved) {
    removeSharer(shard, stable, slot);
    setHashHigh(memory, slot, high);
    addSharer(shard, twin, slot);
    // What else is on the list has been written, and is only not visited yet.
    removeSharers(shard, stable);
  }
  unlockPage(memory, target);
  putPage(memory, target);
  if (!moved) return false;
  settleFront(shard, twin, high);
  removeNode(shard, stable, high);
  return true;
}

/** Points the page, the only one that maps KSM frame `pfn`, at `target`, a KSM frame with the same bytes. */
function redirectMerged(shard: Shard, slot: Slot, pfn: Pfn, target: Pfn): boolean {
  const { memory } = shard;
  const flags = PTE_PRESENT | PTE_MERGED;
  getPage(memory, target);
  addMapping(memory, target);
  if (!casPte(memory, slot, makePte(pfn, flags), makePte(target, flags))) {
    dropMapping(memory, target);
    putPage(memory, target);
    return false;
  }
  dropMapping(memory, pfn);
  const guest = guestOfSlot(memory, slot);
  // Nobody's node any more, and in limbo as a private frame is that lost its page.
  ownFrame(memory, pfn, guestFamily(memory, guest), slot - guestBase(memory, guest));
  pushLimbo(memory, guest, pfn);
  addWide(shard, WIDE_PAGES_MERGED, 1);
  return true;
}
