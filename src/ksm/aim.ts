/**
 * aim - the pages of a batch that will go onto a stable node: found and compared together.
 *
 * A page is placed by a chain of look-ups, each told by the one before: its entry in the index, the record
 * that the entry names, the frame that the record names, its bytes. In memory of gigabytes each is a cache
 * miss, and one page after the other waits for all of them. Here every step is taken for all pages of the
 * batch before the next, so that the misses wait together and the compares stream.
 *
 *      hashed, held                aimed, both frames held                    merged
 *   page ----------> one content, a node with room; ref == 2 ----> equal ----------> CAS of the pte
 *     |                 | no                                         | no              | no: written
 *     +-----------------+--------------------------------------------+---> placed alone (ksm/place.ts)
 *
 * The order is that of a merge (ksm/merge.ts): held, alone, compared, CAS. Only ksmd's own thread takes nodes
 * away, and never one whose frame is held; so at the CAS the node is what it was when it was aimed at. Room
 * it may have no more.
 * MODEL   test/model/merge.test.ts ("a page aimed at a node")
 */
import { ptePfn } from "../base/layout.js";
import { isFrame, type Memory } from "../base/memory.js";
import { NONE, type Pfn, type Slot } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { namedFrame } from "../mm/keyhole.js";
import { pageRef } from "../mm/page-ref.js";
import { readPte } from "../mm/pte.js";
import {
  type Content,
  contentAtHome,
  contentIsStable,
  contentNumber,
  findContent,
  NO_CONTENT,
  nextContent,
} from "./content-index.js";
import { hashHigh, hashIsTrusted, hashLow } from "./item.js";
import { comparePages, heldByUsAlone, MERGED, type MergeOutcome, moveOntoNode } from "./merge.js";
import type { Shard } from "./shard.js";
import { frameOfNode, hasRoom, settleFront } from "./stable.js";
import { treeOfFrame } from "./tree.js";

/** A smaller batch has too little to wait for together. */
const TOUCH_MIN = 16;

/**
 * Aims the first `count` pages of the batch; of them, those with a trusted hash are held. Afterwards the aimed
 * ones and their targets are, and `hashes` has the target and its frame (or NONE) in the place of the hash.
 */
export function aimBatch(shard: Shard, count: number): void {
  if (count >= TOUCH_MIN) touchTargets(shard, count);
  for (let i = 0; i < count; i++) aimPage(shard, i);
  for (let i = 0; i < count; i++) compareAimed(shard, i);
}

/** Brings near what the look-ups are going to read; what is read here counts for nothing else. */
function touchTargets(shard: Shard, count: number): void {
  const { memory, batch, index } = shard;
  const { hashes } = batch;
  for (let i = 0; i < count; i++) {
    hashes[2 * i] = contentAtHome(index, hashes[2 * i] as number);
  }
  for (let i = 0; i < count; i++) {
    hashes[2 * i] = frameOf(memory, hashes[2 * i] as number);
  }
  for (let i = 0; i < count; i++) {
    const pfn = hashes[2 * i] as number;
    if (pfn !== NONE) hashes[2 * i] = pageRef(memory, pfn);
  }
}

/** The frame of a content at this moment, or NONE. */
function frameOf(memory: Memory, content: Content): Pfn {
  if (content === NO_CONTENT) return NONE;
  const number = contentNumber(content);
  const pfn = contentIsStable(content)
    ? namedFrame(memory, number)
    : ptePfn(readPte(memory, number));
  return isFrame(memory, pfn) ? pfn : NONE;
}

function aimPage(shard: Shard, i: number): void {
  const { memory, batch } = shard;
  const slot = batch.slots[i] as number;
  let target: Pfn = NONE;
  if (hashIsTrusted(memory, slot)) {
    const content = loneContent(shard, slot);
    // Alone before the compare: a pin of before the harvest may still write until it is gone.
    if (content !== NO_CONTENT && heldByUsAlone(memory, batch.pfns[i] as number)) {
      target = holdTarget(memory, content, batch.pfns[i] as number);
      batch.hashes[2 * i] = contentNumber(content);
    }
    if (target === NONE) putPage(memory, batch.pfns[i] as number);
  }
  batch.hashes[2 * i + 1] = target;
}

/** The content with the page's hash, if it is the only one. */
function loneContent(shard: Shard, slot: Slot): Content {
  const { memory, index } = shard;
  const content = findContent(index, hashLow(memory, slot), hashHigh(memory, slot));
  if (content === NO_CONTENT || nextContent(memory, content) !== NO_CONTENT) return NO_CONTENT;
  return content;
}

/** The frame of a node with room, of the tree of the page's frame, held; else NONE. */
function holdTarget(memory: Memory, content: Content, pfn: Pfn): Pfn {
  const stable = contentNumber(content);
  if (!contentIsStable(content) || !hasRoom(memory, stable)) return NONE;
  const target = frameOfNode(memory, stable);
  if (target < 0) return NONE;
  // Held, neither is moved. A misplaced node is dealt with where the page is placed alone.
  if (treeOfFrame(memory, target) === treeOfFrame(memory, pfn)) return target;
  putPage(memory, target);
  return NONE;
}

function compareAimed(shard: Shard, i: number): void {
  const { batch } = shard;
  const target = batch.hashes[2 * i + 1] as number;
  if (target === NONE || comparePages(shard, batch.pfns[i] as number, target)) return;
  letGo(shard, i, target);
}

/** Lets go of both frames: the page has its place, or is placed alone. */
function letGo(shard: Shard, i: number, target: Pfn): void {
  const { memory, batch } = shard;
  putPage(memory, target);
  putPage(memory, batch.pfns[i] as number);
  batch.hashes[2 * i + 1] = NONE;
}

/** Merges page `i` of the batch with what it was aimed at; null: it is not aimed at anything. */
export function mergeAimed(shard: Shard, i: number): MergeOutcome | null {
  const { memory, batch } = shard;
  const target = batch.hashes[2 * i + 1] as number;
  if (target === NONE) return null;
  const stable = batch.hashes[2 * i] as number;
  // Other pages of the batch may have filled it.
  if (!hasRoom(memory, stable)) {
    letGo(shard, i, target);
    return null;
  }
  const slot = batch.slots[i] as number;
  const high = hashHigh(memory, slot);
  const outcome = moveOntoNode(shard, slot, batch.ptes[i] as number, stable, target);
  letGo(shard, i, target);
  if (outcome === MERGED) settleFront(shard, stable, high);
  return outcome;
}
