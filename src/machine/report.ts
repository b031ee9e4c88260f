/**
 * report - who shares how much: per-guest statistics and the histogram of copies, from the items. Runs in
 * ksmd's thread between batches; meaningful at a scan boundary.
 */
import {
  ITEM_STABLE,
  ITEM_UNSEEN,
  ITEM_UNSTABLE,
  PTE_NONE,
  ptePfn,
  SHARD_NEXT_NODE,
  SHARD_PAGES_UNSHARED,
} from "../base/layout.js";
import { type Memory, nodeOf } from "../base/memory.js";
import { type GuestId, PAGE_SIZE, type StableId } from "../base/units.js";
import {
  contentIsStable,
  contentNumber,
  findContent,
  NO_CONTENT,
  nextContent,
} from "../ksm/content-index.js";
import { hashHigh, nodeOfItem, stableHashLow, stateOf, treeOfItem } from "../ksm/item.js";
import { type Shard, shardWord } from "../ksm/shard.js";
import { nextDup, nodeIsListed, nodeIsLive, nodeLength, treeOfNode } from "../ksm/stable.js";
import { guestBase, guestCount, guestIsLive, guestNode, guestPages } from "../mm/guest.js";
import { namedFrame } from "../mm/keyhole.js";
import { pteIsPresent, readPte } from "../mm/pte.js";
import { firstSharer } from "../mm/rmap.js";

/** The counters of one guest, in pages; summed over the guests they are the engine's. */
export interface GuestReport {
  /** Number of the guest. */
  readonly guest: GuestId;
  /** Pages that have a frame. */
  readonly pages: number;
  /** Those of them that are all zeros. */
  readonly zero_pages: number;
  /** Those of them whose frame lies on another node than the guest's home. */
  readonly remote_pages: number;
  /** Merged frames of which this guest's page is the one that is not saved. */
  readonly pages_shared: number;
  /** Pages saved: they share a frame that is charged to another page, of this guest or of another. */
  readonly pages_sharing: number;
  /** Those of pages_sharing that are all zeros. */
  readonly zero_pages_sharing: number;
  /** Pages looked at, and equal to no other. */
  readonly pages_unshared: number;
  /** Pages that change too fast, or were seen for the first time. */
  readonly pages_volatile: number;
  /** pages_sharing x 4 KiB. */
  readonly saved_bytes: number;
}

/**
 * Contents that occur copies_min to copies_max times, among the pages that were looked at. With merge_across_nodes 0
 * a content counts once for each node that has it.
 */
export interface HistogramRow {
  /** A power of two. */
  readonly copies_min: number;
  /** The next power of two, less one. */
  readonly copies_max: number;
  /** Different contents. */
  readonly contents: number;
  /** Pages that have them. */
  readonly pages: number;
}

/** Who shares how much. */
export interface Report {
  /** The guests, in order of creation. */
  readonly guests: readonly GuestReport[];
  /** Contents by how many pages have them, fewest copies first; rows without a content are left out. */
  readonly histogram: readonly HistogramRow[];
}

export function reportMachine(shard: Shard): Report {
  const { memory } = shard;
  const guests: GuestReport[] = [];
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (guestIsLive(memory, guest)) guests.push(reportGuest(memory, guest));
  }
  return { guests, histogram: histogram(shard) };
}

function reportGuest(memory: Memory, guest: GuestId): GuestReport {
  const base = guestBase(memory, guest);
  const home = guestNode(memory, guest);
  let pages = 0;
  let zero = 0;
  let remote = 0;
  let zeroSharing = 0;
  let items = 0;
  let shared = 0;
  let sharing = 0;
  let unshared = 0;
  for (let slot = base; slot < base + guestPages(memory, guest); slot++) {
    const pte = readPte(memory, slot);
    if (pte !== PTE_NONE) pages++;
    if (pte !== PTE_NONE && nodeOf(memory, ptePfn(pte)) !== home) remote++;
    const isZero = pteIsPresent(pte) && memory.kernels.isZeroPage(ptePfn(pte));
    if (isZero) zero++;
    const state = stateOf(memory, slot);
    if (state !== ITEM_UNSEEN) items++;
    if (state === ITEM_UNSTABLE) unshared++;
    if (state !== ITEM_STABLE) continue;
    // The frame is charged to one of its sharers: the head of the list.
    if (firstSharer(memory, nodeOfItem(memory, slot)) === slot) {
      shared++;
      continue;
    }
    sharing++;
    if (isZero) zeroSharing++;
  }
  return {
    guest,
    pages,
    zero_pages: zero,
    remote_pages: remote,
    pages_shared: shared,
    pages_sharing: sharing,
    zero_pages_sharing: zeroSharing,
    pages_unshared: unshared,
    pages_volatile: items - shared - sharing - unshared,
    saved_bytes: sharing * PAGE_SIZE,
  };
}

/** Contents by how many pages have them. */
function histogram(shard: Shard): HistogramRow[] {
  const { memory } = shard;
  const contents: number[] = [];
  const pages: number[] = [];
  const count = (copies: number): void => {
    const row = 31 - Math.clz32(copies);
    contents[row] = (contents[row] ?? 0) + 1;
    pages[row] = (pages[row] ?? 0) + copies;
  };
  let leftovers = 0;
  for (let stable = 0; stable < shardWord(shard, SHARD_NEXT_NODE); stable++) {
    if (!nodeIsLive(memory, stable)) continue;
    if (nodeIsListed(memory, stable)) {
      // Its place is not known yet, nor whether others have its content there.
      count(nodeLength(memory, stable));
      continue;
    }
    if (!isFirstOfRing(memory, stable)) continue;
    const leftover = hasLeftover(shard, stable) ? 1 : 0;
    leftovers += leftover;
    count(ringLength(memory, stable) + leftover);
  }
  const single = shardWord(shard, SHARD_PAGES_UNSHARED) - leftovers;
  if (single > 0) {
    contents[0] = (contents[0] ?? 0) + single;
    pages[0] = (pages[0] ?? 0) + single;
  }
  return Array.from(contents, (number, row) => ({
    copies_min: 2 ** row,
    copies_max: 2 ** (row + 1) - 1,
    contents: number ?? 0,
    pages: pages[row] ?? 0,
  })).filter((row) => row.contents > 0);
}

function isFirstOfRing(memory: Memory, stable: StableId): boolean {
  for (let node = nextDup(memory, stable); node !== stable; node = nextDup(memory, node)) {
    if (node < stable) return false;
  }
  return true;
}

function ringLength(memory: Memory, stable: StableId): number {
  let length = nodeLength(memory, stable);
  for (let node = nextDup(memory, stable); node !== stable; node = nextDup(memory, node)) {
    length += nodeLength(memory, node);
  }
  return length;
}

/** Is there a page with this content that no node has room for? At a quiet moment at most one. */
function hasLeftover(shard: Shard, stable: StableId): boolean {
  const { memory, index } = shard;
  const sharer = firstSharer(memory, stable);
  const low = stableHashLow(memory, stable);
  for (
    let content = findContent(index, low, hashHigh(memory, sharer));
    content !== NO_CONTENT;
    content = nextContent(memory, content)
  ) {
    if (contentIsStable(content)) continue;
    if (treeOfItem(memory, contentNumber(content)) !== treeOfNode(memory, stable)) continue;
    const pte = readPte(memory, contentNumber(content));
    // One hash, two contents: only the bytes tell.
    if (memory.kernels.equalPages(ptePfn(pte), namedFrame(memory, stable))) return true;
  }
  return false;
}
