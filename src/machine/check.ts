/**
 * check - the audit of a whole machine: recounts every reference, mapping, sharer, counter and free frame
 * from the ptes, and compares. For quiet moments: no guest access, pin or fault under way; ksmd between
 * batches. It runs in ksmd's thread, which has the index.
 */
import { plainLoad } from "../base/atomics.js";
import {
  ENGINE_PINS,
  GUEST_LIMBO,
  ITEM_STABLE,
  ITEM_UNSEEN,
  ITEM_UNSTABLE,
  ITEM_VOLATILE,
  MAPPING_TAG_ANON,
  MAPPING_TAG_KSM,
  mappingId,
  mappingTag,
  PTE_DIRTY,
  PTE_MERGED,
  PTE_NONE,
  PTE_WRITABLE,
  ptePfn,
  SHARD_CHAINS,
  SHARD_DUPS,
  SHARD_MIGRATE_LIST,
  SHARD_NEXT_NODE,
  SHARD_PAGES_SHARED,
  SHARD_PAGES_SHARING,
  SHARD_PAGES_UNSHARED,
  SHARD_RMAP_ITEMS,
} from "../base/layout.js";
import { blockOf, coldWord, framesEnd, isFrame } from "../base/memory.js";
import { NONE, type Slot, type StableId } from "../base/units.js";
import {
  candidateContent,
  findContent,
  NO_CONTENT,
  nextContent,
  stableContent,
} from "../ksm/content-index.js";
import { hashHigh, hashLow, nodeOfItem, stableHashLow, stateOf, treeOfItem } from "../ksm/item.js";
import { knobMaxPageSharing } from "../ksm/knobs.js";
import { getBit, type Shard, shardWord } from "../ksm/shard.js";
import {
  hasRoom,
  keyOf,
  nextDup,
  nodeIsListed,
  nodeIsLive,
  nodeLength,
  treeOfNode,
} from "../ksm/stable.js";
import { treeOfFrame } from "../ksm/tree.js";
import { blockIsOnline } from "../mm/blocks.js";
import { frameIsFree, freeFramesOf } from "../mm/frames.js";
import { guestBase, guestCount, guestIsLive, guestPages, guestWord } from "../mm/guest.js";
import { frameIsIsolated, isolatedFrames } from "../mm/isolate.js";
import { namedFrame } from "../mm/keyhole.js";
import { isMoved } from "../mm/moved.js";
import { pageIsLocked } from "../mm/page-lock.js";
import { readMapping } from "../mm/page-mapping.js";
import { mapcount, pageRef } from "../mm/page-ref.js";
import { ksmPtes, pteIsPresent, readPte } from "../mm/pte.js";
import { firstSharer, nextSharer } from "../mm/rmap.js";

/** What an audit found. */
export interface CheckReport {
  /** Whether nothing was found: `problems` is empty. */
  readonly clean: boolean;
  /** One line each, beginning with the number of the invariant; at most 50. */
  readonly problems: readonly string[];
  /** Frames audited: all of the blocks that there are. */
  readonly frames: number;
  /** Pages audited: those that have a frame. */
  readonly pages: number;
}

const PROBLEMS_MAX = 50;

export function checkMachine(shard: Shard): CheckReport {
  return new Audit(shard).run();
}

class Audit {
  private readonly problems: string[] = [];
  private readonly maps: Int32Array;
  private readonly writable: Uint8Array;
  private readonly limbo: Int32Array;
  private pages = 0;
  private merged = 0;
  private items = 0;
  private unstable = 0;
  private stable = 0;
  private frames = 0;

  constructor(private readonly shard: Shard) {
    const frames = framesEnd(shard.memory);
    this.maps = new Int32Array(frames);
    this.writable = new Uint8Array(frames);
    this.limbo = new Int32Array(frames);
  }

  run(): CheckReport {
    const { memory } = this.shard;
    for (let guest = 0; guest < guestCount(memory); guest++) {
      if (guestIsLive(memory, guest)) this.checkGuest(guest);
    }
    this.checkFrames();
    this.checkNodes();
    this.expect("PTE-5", "ksm_ptes", ksmPtes(memory), this.merged);
    this.expectWord("STABLE-3", "rmap items", SHARD_RMAP_ITEMS, this.items);
    this.expectWord("ITEM-1", "pages_unshared", SHARD_PAGES_UNSHARED, this.unstable);
    return {
      clean: this.problems.length === 0,
      problems: this.problems,
      frames: this.frames,
      pages: this.pages,
    };
  }

  private report(id: string, what: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push(`${id}: ${what}`);
  }

  private expect(id: string, what: string, actual: number, expected: number): void {
    if (actual !== expected) this.report(id, `${what} is ${actual}, counted ${expected}`);
  }

  private expectWord(id: string, what: string, word: number, expected: number): void {
    this.expect(id, what, shardWord(this.shard, word), expected);
  }

  private checkGuest(guest: number): void {
    const { memory } = this.shard;
    const base = guestBase(memory, guest);
    for (let slot = base; slot < base + guestPages(memory, guest); slot++) {
      this.checkPte(slot);
      this.checkItem(slot);
    }
    let link = plainLoad(memory.control, guestWord(memory, guest) + GUEST_LIMBO);
    while (link !== 0) {
      const pfn = link - 1;
      this.limbo[pfn] = (this.limbo[pfn] as number) + 1;
      link = plainLoad(blockOf(memory, pfn).words, coldWord(memory, pfn));
    }
  }

  private checkPte(slot: Slot): void {
    const pte = readPte(this.shard.memory, slot);
    if (pte === PTE_NONE) return;
    this.pages++;
    if (!pteIsPresent(pte)) {
      this.report("PTE-4", `slot ${slot} is left an entry`);
      return;
    }
    const pfn = ptePfn(pte);
    if (!isFrame(this.shard.memory, pfn)) {
      this.report("BLOCK-1", `slot ${slot} is in frame ${pfn}, which has no block`);
      return;
    }
    this.maps[pfn] = (this.maps[pfn] as number) + 1;
    if ((pte & PTE_WRITABLE) !== 0) this.writable[pfn] = 1;
    if ((pte & PTE_MERGED) === 0) return;
    this.merged++;
    if (mappingTag(readMapping(this.shard.memory, pfn)) !== MAPPING_TAG_KSM) {
      this.report("PTE-3", `slot ${slot} is merged, and its frame is no stable node's`);
    }
    if ((pte & PTE_WRITABLE) !== 0) this.report("PTE-3", `slot ${slot} is merged and writable`);
  }

  private checkItem(slot: Slot): void {
    const { memory, index } = this.shard;
    const state = stateOf(memory, slot);
    if (state !== ITEM_UNSEEN) this.items++;
    if (state === ITEM_STABLE) {
      this.stable++;
      if (!nodeIsLive(memory, nodeOfItem(memory, slot))) {
        this.report("ITEM-2", `slot ${slot} is on a dead node`);
      }
    }
    this.checkMerged(slot, state);
    if (state === ITEM_VOLATILE) this.checkAwaited(slot);
    if (state !== ITEM_UNSTABLE) return;
    this.unstable++;
    const found = this.isIndexed(
      findContent(index, hashLow(memory, slot), hashHigh(memory, slot)),
      candidateContent(slot),
    );
    if (!found) this.report("ITEM-1", `candidate ${slot} is not in the index`);
    const tree = treeOfFrame(memory, ptePfn(readPte(memory, slot)));
    if (treeOfItem(memory, slot) !== tree && !this.isAwaited(slot)) {
      this.report("MOVED-1", `candidate ${slot} is in a tree that its frame is not of`);
    }
  }

  /** A page that has no place is going to be visited, now or when D is found. */
  private checkAwaited(slot: Slot): void {
    const { memory } = this.shard;
    const pte = readPte(memory, slot);
    const mergeable = getBit(memory, memory.layout.mergeable, slot);
    if (!mergeable || pte === PTE_NONE || (pte & PTE_DIRTY) !== 0 || this.isAwaited(slot)) return;
    this.report("VISIT-1", `slot ${slot} has no place, and nobody is going to find it one`);
  }

  /** Is the page going to be visited, or marked as moved? */
  private isAwaited(slot: Slot): boolean {
    const { memory } = this.shard;
    return getBit(memory, memory.layout.pending, slot) || isMoved(memory, slot);
  }

  /** A merged page has an item on the node of its frame; ksmd may lag behind a page that is no longer merged. */
  private checkMerged(slot: Slot, state: number): void {
    const { memory } = this.shard;
    const pte = readPte(memory, slot);
    if (!pteIsPresent(pte) || (pte & PTE_MERGED) === 0) return;
    const onNode =
      state === ITEM_STABLE && namedFrame(memory, nodeOfItem(memory, slot)) === ptePfn(pte);
    if (!onNode) this.report("ITEM-2", `slot ${slot} is merged, and is on no node of its frame`);
  }

  private isIndexed(first: number, wanted: number): boolean {
    for (
      let content = first;
      content !== NO_CONTENT;
      content = nextContent(this.shard.memory, content)
    ) {
      if (content === wanted) return true;
    }
    return false;
  }

  private checkFrames(): void {
    const { memory } = this.shard;
    let pinned = 0;
    let free = 0;
    for (let pfn = 0; pfn < this.maps.length; pfn++) {
      if (!isFrame(memory, pfn)) continue;
      this.frames++;
      const maps = this.maps[pfn] as number;
      const ref = pageRef(memory, pfn);
      const held = maps + (this.limbo[pfn] as number);
      if (ref < held) this.report("REF-1", `frame ${pfn} has ref ${ref}, counted ${held}`);
      else pinned += ref - held;
      if (ref > 0) this.expect("REF-4", `mapcount of frame ${pfn}`, mapcount(memory, pfn), maps);
      if (maps > 1 && this.writable[pfn] === 1)
        this.report("PTE-3", `frame ${pfn} is writable and shared`);
      if (pageIsLocked(memory, pfn)) this.report("LOCK-1", `frame ${pfn} is left locked`);
      const isolated = frameIsIsolated(memory, pfn);
      if (isolated && (ref !== 0 || frameIsFree(memory, pfn)))
        this.report("ISOLATE-1", `frame ${pfn} is isolated, and in use or free`);
      if (!isolated && frameIsFree(memory, pfn) !== (ref === 0))
        this.report("FREE-1", `frame ${pfn}: free bit and ref ${ref}`);
      if (ref === 0 && !isolated) free++;
      this.checkMapping(pfn, ref);
    }
    const pins = plainLoad(memory.control, memory.layout.engine + ENGINE_PINS);
    this.expect("PIN-1", "references beyond mappings and limbo", pinned, pins);
    this.expect("FREE-2", "free frames", this.countedFree(), free);
  }

  /** By the blocks' own counts; of one that nobody takes offline no frame is isolated. */
  private countedFree(): number {
    const { memory } = this.shard;
    let free = 0;
    for (const [number, block] of memory.blocks.entries()) {
      if (block === null) continue;
      free += freeFramesOf(memory, block);
      const isolated = isolatedFrames(memory, block);
      if (isolated > 0 && blockIsOnline(memory, number))
        this.report("ISOLATE-3", `block ${number} is online, and ${isolated} frames are isolated`);
    }
    return free;
  }

  private checkMapping(pfn: number, ref: number): void {
    const { memory } = this.shard;
    const mapping = readMapping(memory, pfn);
    const tag = mappingTag(mapping);
    if (ref === 0) {
      if (mapping !== 0) this.report("MAP-1", `free frame ${pfn} has an owner`);
    } else if (tag === MAPPING_TAG_KSM) {
      const stable = mappingId(mapping);
      const named = nodeIsLive(memory, stable) && keyOf(memory, stable) === mapping;
      if (!named || namedFrame(memory, stable) !== pfn) {
        this.report("MAP-2", `frame ${pfn} names node ${stable}, which does not name it`);
      }
    } else if (tag !== MAPPING_TAG_ANON) {
      this.report("MAP-1", `frame ${pfn} is held by ${ref} and has no owner`);
    }
  }

  private checkNodes(): void {
    const { memory } = this.shard;
    let shared = 0;
    let sharers = 0;
    let chains = 0;
    let dups = 0;
    let listed = 0;
    const end = shardWord(this.shard, SHARD_NEXT_NODE);
    const seen = new Uint8Array(end);
    for (let stable = 0; stable < end; stable++) {
      if (!nodeIsLive(memory, stable)) continue;
      shared++;
      sharers += this.checkSharers(stable);
      this.checkTree(stable);
      if (nodeIsListed(memory, stable)) listed++;
      if (nodeIsListed(memory, stable) || seen[stable] === 1) continue;
      const nodes = this.checkRing(stable, seen);
      chains += nodes > 1 ? 1 : 0;
      dups += nodes > 1 ? nodes : 0;
    }
    this.expect("STABLE-5", "nodes on the migrate list", this.listLength(end), listed);
    this.expect("ITEM-2", "pages on nodes", sharers, this.stable);
    this.expectWord("STABLE-3", "pages_shared", SHARD_PAGES_SHARED, shared);
    this.expectWord("STABLE-3", "pages_sharing", SHARD_PAGES_SHARING, sharers - shared);
    this.expectWord("STABLE-3", "stable_node_chains", SHARD_CHAINS, chains);
    this.expectWord("STABLE-3", "stable_node_dups", SHARD_DUPS, dups);
  }

  /** Nodes on the migrate list; NONE: it does not end, or holds others. */
  private listLength(end: number): number {
    const { memory } = this.shard;
    const first = shardWord(this.shard, SHARD_MIGRATE_LIST) - 1;
    let length = 0;
    for (let node = first; node !== NONE && length <= end; ) {
      if (!nodeIsListed(memory, node)) return NONE;
      length++;
      node = nextDup(memory, node);
      if (node === first) return length;
    }
    return first === NONE ? 0 : NONE;
  }

  /** A node that is not in the tree of its frame, or in none, gets its place when one of its pages is visited. */
  private checkTree(stable: StableId): void {
    const { memory } = this.shard;
    const pfn = namedFrame(memory, stable);
    if (readMapping(memory, pfn) !== keyOf(memory, stable)) return;
    const placed =
      !nodeIsListed(memory, stable) && treeOfNode(memory, stable) === treeOfFrame(memory, pfn);
    if (placed) return;
    for (let slot = firstSharer(memory, stable); slot !== NONE; slot = nextSharer(memory, slot)) {
      if (this.isAwaited(slot)) return;
    }
    this.report("STABLE-5", `node ${stable} has no place, and nobody is going to find it one`);
  }

  private checkSharers(stable: StableId): number {
    const { memory } = this.shard;
    const pfn = namedFrame(memory, stable);
    if (!isFrame(memory, pfn)) {
      this.report("BLOCK-2", `node ${stable} names frame ${pfn}, which has no block`);
      return 0;
    }
    const alive = readMapping(memory, pfn) === keyOf(memory, stable);
    let length = 0;
    for (let slot = firstSharer(memory, stable); slot !== NONE; slot = nextSharer(memory, slot)) {
      length++;
      const pte = readPte(memory, slot);
      if (stateOf(memory, slot) !== ITEM_STABLE || nodeOfItem(memory, slot) !== stable) {
        this.report("ITEM-2", `slot ${slot} is on node ${stable} and does not know it`);
      }
      if ((pte & PTE_MERGED) !== 0 && (!alive || ptePfn(pte) !== pfn)) {
        this.report("STABLE-1", `slot ${slot} is merged, but not with node ${stable}`);
      }
    }
    this.expect("STABLE-1", `length of node ${stable}`, nodeLength(memory, stable), length);
    const limit = knobMaxPageSharing(memory);
    if (length > limit) this.report("STABLE-1", `node ${stable} has ${length} sharers of ${limit}`);
    if (length === 0) this.report("STABLE-1", `node ${stable} has no sharer`);
    return length;
  }

  /** Nodes of the ring, each marked as seen: a content may have a hundred thousand. */
  private checkRing(stable: StableId, seen: Uint8Array): number {
    const { memory, index } = this.shard;
    const first = firstSharer(memory, stable);
    if (first === NONE) return 1;
    const low = stableHashLow(memory, stable);
    const contents = findContent(index, low, hashHigh(memory, first));
    let nodes = 0;
    let fronts = 0;
    let room = false;
    let frontHasRoom = false;
    let node = stable;
    do {
      nodes++;
      seen[node] = 1;
      this.expect(
        "STABLE-5",
        `tree of node ${node}`,
        treeOfNode(memory, node),
        treeOfNode(memory, stable),
      );
      this.expect("STABLE-5", `hash of node ${node}`, stableHashLow(memory, node), low);
      if (hasRoom(memory, node)) room = true;
      if (this.isIndexed(contents, stableContent(node))) {
        fronts++;
        frontHasRoom = hasRoom(memory, node);
      }
      node = nextDup(memory, node);
    } while (seen[node] !== 1 && nodes < seen.length);
    if (node !== stable)
      this.report("INDEX-1", `the ring of node ${stable} does not come back to it`);
    if (fronts !== 1) this.report("INDEX-1", `the ring of node ${stable} has ${fronts} fronts`);
    if (room && !frontHasRoom)
      this.report("STABLE-2", `the ring of node ${stable} has room, and its front has none`);
    return nodes;
  }
}
