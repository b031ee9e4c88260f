/**
 * place - finding a hashed page its place: on a stable node, with a candidate, or as a candidate.
 *
 * The hash leads to a list of contents, nearly always of one. Each is tried until one merges; those that
 * turn out to be gone are dropped on the way. A full content is passed over: the page then pairs up with
 * another into a further node of that content (a dup), or waits for one. A list that has become long sends
 * pages on to another, under a second hash (ksm/rehash.ts).
 */
import { ptePfn } from "../base/layout.js";
import type { Slot } from "../base/units.js";
import { pageRef } from "../mm/page-ref.js";
import { readPte } from "../mm/pte.js";
import { addCandidate, dropCandidate } from "./candidate.js";
import {
  type Content,
  contentIsStable,
  contentNumber,
  findContent,
  NO_CONTENT,
  nextContent,
} from "./content-index.js";
import { hashHigh, hashLow, nodeOfItem, treeOfItem } from "./item.js";
import {
  BUSY,
  CHANGED,
  DIFFERENT,
  MERGED,
  type MergeOutcome,
  MISPLACED,
  mergeOntoNode,
  mergeWithCandidate,
  STALE,
} from "./merge.js";
import { differsFromCandidate, differsFromNode } from "./peek.js";
import { endsHere, rehashPage } from "./rehash.js";
import { getBit, type Shard, setBit } from "./shard.js";
import {
  compareWithNode,
  dropStaleNode,
  NODE_BUSY,
  NODE_DIFFERS,
  NODE_EQUAL,
  NODE_STALE,
} from "./sharers.js";
import { hasRoom, nodeIsListed, parkNode, settleFront, treeOfNode } from "./stable.js";

/** The page is in the index as a candidate now. */
const WAITING = 5;
type PlaceOutcome = typeof MERGED | typeof CHANGED | typeof BUSY | typeof WAITING;

/** Places the page, whose hash is trusted and which is in no index and on no node. */
export function placePage(shard: Shard, slot: Slot): PlaceOutcome {
  const { memory } = shard;
  for (let level = 1; ; level++) {
    const low = hashLow(memory, slot);
    const high = hashHigh(memory, slot);
    const outcome = searchList(shard, slot, low, high);
    if (outcome !== DIFFERENT) return outcome;
    if (endsHere(shard, level, low, high)) break;
    // A content that is full here goes on here: in another list it would begin a ring of its own.
    const full = isFullIn(shard, slot, low, high);
    if (full === BUSY) return BUSY;
    if (full) break;
    const rehashed = rehashPage(memory, slot);
    if (rehashed !== MERGED) return rehashed === BUSY ? BUSY : CHANGED;
  }
  // A pinned page would keep its equals waiting for as long as it is pinned.
  if (pageRef(memory, ptePfn(readPte(memory, slot))) > 1) return BUSY;
  addCandidate(shard, slot);
  return WAITING;
}

/** Tries the contents with this hash; DIFFERENT: none is equal. */
function searchList(
  shard: Shard,
  slot: Slot,
  low: number,
  high: number,
): typeof MERGED | typeof CHANGED | typeof BUSY | typeof DIFFERENT {
  const { memory, index } = shard;
  let content = findContent(index, low, high);
  // One hash, one content, nearly always: a look at a few words would only be a cache miss before the compare.
  let peeks = content !== NO_CONTENT && nextContent(memory, content) !== NO_CONTENT;
  while (content !== NO_CONTENT) {
    const outcome = tryContent(shard, slot, content, high, peeks);
    if (outcome === STALE || outcome === MISPLACED) {
      if (outcome === MISPLACED) parkNode(shard, contentNumber(content), high);
      else dropContent(shard, content);
      // The list has changed under us.
      content = findContent(index, low, high);
      peeks = true;
    } else if (outcome === DIFFERENT) {
      content = nextContent(memory, content);
    } else {
      return outcome;
    }
  }
  return DIFFERENT;
}

/** Has one of the list's contents the page's bytes, and no room? Only advice if the page is written meanwhile. */
function isFullIn(shard: Shard, slot: Slot, low: number, high: number): boolean | typeof BUSY {
  const { memory, index } = shard;
  let content = findContent(index, low, high);
  while (content !== NO_CONTENT) {
    const front = contentNumber(content);
    const full =
      contentIsStable(content) &&
      !hasRoom(memory, front) &&
      treeOfNode(memory, front) === treeOfItem(memory, slot);
    const pfn = ptePfn(readPte(memory, slot));
    const compared =
      full && !differsFromNode(memory, slot, front)
        ? compareWithNode(shard, front, pfn)
        : NODE_DIFFERS;
    if (compared === NODE_EQUAL) return true;
    if (compared === NODE_BUSY) return BUSY;
    if (compared === NODE_STALE) {
      dropStaleNode(shard, front);
      content = findContent(index, low, high);
    } else {
      content = nextContent(memory, content);
    }
  }
  return false;
}

/** One content of the list; a full one counts as DIFFERENT. With `peeks` a few words are looked at first. */
function tryContent(
  shard: Shard,
  slot: Slot,
  content: Content,
  high: number,
  peeks: boolean,
): MergeOutcome {
  const number = contentNumber(content);
  if (!contentIsStable(content)) {
    // Written since it was hashed; this pass has only not come to it yet. Merged now, it would be taken off
    // its node again when it is visited, with its pte still merged.
    if (getBit(shard.memory, shard.memory.layout.hot, number)) return STALE;
    if (peeks && differsFromCandidate(shard.memory, slot, number)) return DIFFERENT;
    const outcome = mergeWithCandidate(shard, slot, number);
    // Merged, but their node has no place yet: either of them may be written, and the other must still be visited.
    const listed = outcome === MERGED && nodeIsListed(shard.memory, nodeOfItem(shard.memory, slot));
    return listed ? BUSY : outcome;
  }
  if (!hasRoom(shard.memory, number)) return DIFFERENT;
  if (peeks && differsFromNode(shard.memory, slot, number)) return DIFFERENT;
  const outcome = mergeOntoNode(shard, slot, number);
  if (outcome === MERGED) settleFront(shard, number, high);
  return outcome;
}

/** A content that is not what the index says: a node whose frame is gone, a candidate that was written. */
function dropContent(shard: Shard, content: Content): void {
  const number = contentNumber(content);
  if (contentIsStable(content)) {
    dropStaleNode(shard, number);
    return;
  }
  dropCandidate(shard, number);
  // Looked at again when it is quiet again.
  setBit(shard.memory, shard.memory.layout.pending, number);
}
