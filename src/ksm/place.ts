/**
 * place - finding a hashed page its place: on a stable node, with a candidate, or as a candidate.
 *
 * The hash leads to a list of contents, nearly always of one. Each is tried until one merges; those that
 * turn out to be gone are dropped on the way. A full content is passed over: the page then pairs up with
 * another into a further node of that content (a dup), or waits for one.
 */
import type { Slot } from "../base/units.js";
import { addCandidate, dropCandidate } from "./candidate.js";
import {
  type Content,
  contentIsStable,
  contentNumber,
  findContent,
  NO_CONTENT,
  nextContent,
} from "./content-index.js";
import { hashHigh, hashLow } from "./item.js";
import {
  type BUSY,
  type CHANGED,
  DIFFERENT,
  MERGED,
  type MergeOutcome,
  mergeOntoNode,
  mergeWithCandidate,
  STALE,
} from "./merge.js";
import { type Shard, setBit } from "./shard.js";
import { dropStaleNode, hasRoom, settleFront } from "./stable.js";

/** The page is in the index as a candidate now. */
const WAITING = 5;
type PlaceOutcome = typeof MERGED | typeof CHANGED | typeof BUSY | typeof WAITING;

/** Places the page, whose hash is trusted and which is in no index and on no node. */
export function placePage(shard: Shard, slot: Slot): PlaceOutcome {
  const { memory, index } = shard;
  const low = hashLow(memory, slot);
  const high = hashHigh(memory, slot);
  let content = findContent(index, memory, low, high);
  while (content !== NO_CONTENT) {
    const outcome = tryContent(shard, slot, content, high);
    if (outcome === STALE) {
      dropContent(shard, content);
      // The list has changed under us.
      content = findContent(index, memory, low, high);
    } else if (outcome === DIFFERENT) {
      content = nextContent(memory, content);
    } else {
      return outcome;
    }
  }
  addCandidate(shard, slot);
  return WAITING;
}

/** One content of the list; a full one counts as DIFFERENT. */
function tryContent(shard: Shard, slot: Slot, content: Content, high: number): MergeOutcome {
  const number = contentNumber(content);
  if (!contentIsStable(content)) return mergeWithCandidate(shard, slot, number);
  if (!hasRoom(shard.memory, number)) return DIFFERENT;
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
