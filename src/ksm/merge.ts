/**
 * merge - the one place where a merge commits or backs out.
 *
 * OWNS    nothing: it changes ptes, refs and lists through their owners
 *
 * After the harvest's shootdown a pte that is present, W and D-clear is a reservation (mm/pte.ts): nobody
 * can write through it, or pin it, without changing the word first. So a merge compares the bytes without
 * protecting them and commits by one CAS of that word; if the CAS succeeds, nobody wrote in between.
 *
 *   P onto a KSM frame K                        P and a candidate Q
 *     get P's frame; pte again; ref == 2          get Q's frame; pte again; trylock; ref == 2
 *     get K through the keyhole                   the same for P
 *     compare                                     compare
 *     ref, mapcount on K                          seal Q:  CAS q -> Q read-only, M
 *     CAS p -> K read-only, M                     ref, mapcount on Q; CAS p -> Q read-only, M
 *     old mapping's ref to limbo                  failed: unseal Q by CAS
 *     under K's lock: sharer list                 link the node; only then Q's mapping word; unlock
 *
 * The pages of a batch take the left column's steps together, each step for all before the next (ksm/aim.ts).
 * ref == 2 is the page's own mapping and ours: more means a pin, or somebody passing by. The compare races
 * with writers on purpose (RACY, re-checked by the CAS).
 *
 * INVARIANTS
 *   MERGE-1  a pte is redirected only to a frame with the same 4,096 bytes.
 *   MERGE-2  a failed merge changes no pte but Q's, and puts Q's back unless its guest changed it meanwhile.
 *   MERGE-3  the target's ref and mapcount are raised before a pte names it (O7, H54).
 *   MERGE-4  with merge_across_nodes 0 a pte is redirected only to a frame of the same node (H18, H21).
 * ORDER   pte.merge, mapping.set
 * MODEL   test/model/merge.test.ts
 * LINUX   try_to_merge_with_ksm_page, try_to_merge_two_pages; there write_protect_page and the count
 *         check do what the D reservation does here.
 */
import {
  makePte,
  PTE_DIRTY,
  PTE_MERGED,
  PTE_PRESENT,
  PTE_WRITABLE,
  ptePfn,
  WIDE_COMPARES,
  WIDE_PAGES_MERGED,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Pfn, Slot, StableId } from "../base/units.js";
import { putPage } from "../mm/frames.js";
import { guestOfSlot } from "../mm/guest.js";
import { KEYHOLE_BUSY, KEYHOLE_STALE } from "../mm/keyhole.js";
import { pushLimbo } from "../mm/limbo.js";
import { trylockPage, unlockPage } from "../mm/page-lock.js";
import { setKsmMapping } from "../mm/page-mapping.js";
import {
  addMapping,
  dropMapping,
  getPage,
  pageRef,
  REF_FROZEN,
  REF_HELD,
  tryGetPage,
} from "../mm/page-ref.js";
import { casPteMerged, casPteUnmerged, pteIsPresent, readPte } from "../mm/pte.js";
import { dropCandidate } from "./candidate.js";
import { hashHigh, hashLow, treeOfItem } from "./item.js";
import { addWide, type Shard } from "./shard.js";
import { addSharer, linkNode } from "./sharers.js";
import { allocNode, frameOfNode, keyOf, treeOfNode } from "./stable.js";
import { treeOfFrame } from "./tree.js";

export const MERGED = 0;
/** The bytes differ: one hash, two contents. */
export const DIFFERENT = 1;
/** The scanned page was written, or is not a private quiet page any more. */
export const CHANGED = 2;
/** A frame is locked, pinned, frozen or passing through another hand: try again. */
export const BUSY = 3;
/** The stable node's frame, or the candidate, is no longer what the index says: drop it. */
export const STALE = 4;
/** The stable node's frame was moved out of its tree: it needs another place. */
export const MISPLACED = 5;
export type MergeOutcome =
  | typeof MERGED
  | typeof DIFFERENT
  | typeof CHANGED
  | typeof BUSY
  | typeof STALE
  | typeof MISPLACED;

const QUIET_MASK = PTE_PRESENT | PTE_WRITABLE | PTE_DIRTY | PTE_MERGED;

/** Present, writable, not written since the harvest, not merged: the pte is a reservation. */
export function pteIsQuiet(pte: number): boolean {
  return pteIsPresent(pte) && (pte & QUIET_MASK) === (PTE_PRESENT | PTE_WRITABLE);
}

/** Takes a reference on the frame of a quiet page, so that nobody reuses it: MERGED, CHANGED or BUSY. */
export function holdQuietPage(memory: Memory, slot: Slot, pte: number): MergeOutcome {
  if (!pteIsQuiet(pte)) return CHANGED;
  const pfn = ptePfn(pte);
  const got = tryGetPage(memory, pfn);
  if (got === REF_FROZEN) return BUSY;
  if (got !== REF_HELD) return CHANGED;
  if (readPte(memory, slot) === pte) return MERGED;
  putPage(memory, pfn);
  return CHANGED;
}

/** Only the page's own mapping and ours hold the frame. */
export function heldByUsAlone(memory: Memory, pfn: Pfn): boolean {
  return pageRef(memory, pfn) === 2;
}

/** Merges the page onto the node's frame. */
export function mergeOntoNode(shard: Shard, slot: Slot, stable: StableId): MergeOutcome {
  const { memory } = shard;
  const pte = readPte(memory, slot);
  const held = holdQuietPage(memory, slot, pte);
  if (held !== MERGED) return held;
  const outcome = heldByUsAlone(memory, ptePfn(pte)) ? mergeHeld(shard, slot, pte, stable) : BUSY;
  putPage(memory, ptePfn(pte));
  return outcome;
}

function mergeHeld(shard: Shard, slot: Slot, pte: number, stable: StableId): MergeOutcome {
  const { memory } = shard;
  const target = frameOfNode(memory, stable);
  if (target === KEYHOLE_STALE) return STALE;
  if (target === KEYHOLE_BUSY) return BUSY;
  let outcome = judgeNode(memory, slot, ptePfn(pte), stable, target);
  if (outcome === MERGED && !comparePages(shard, ptePfn(pte), target)) outcome = DIFFERENT;
  if (outcome === MERGED) outcome = moveOntoNode(shard, slot, pte, stable, target);
  putPage(memory, target);
  return outcome;
}

/** Are the page, the node and their frames, which are both held, of one tree? MERGED: they are. */
function judgeNode(
  memory: Memory,
  slot: Slot,
  pfn: Pfn,
  stable: StableId,
  target: Pfn,
): MergeOutcome {
  const tree = treeOfNode(memory, stable);
  if (treeOfFrame(memory, target) !== tree) return MISPLACED;
  if (treeOfFrame(memory, pfn) !== treeOfItem(memory, slot)) return CHANGED;
  // One hash in two trees: two contents, as far as merging goes.
  return treeOfItem(memory, slot) === tree ? MERGED : DIFFERENT;
}

/**
 * Moves the page, whose frame the caller holds alone and has compared since, onto the node, whose frame `target` it
 * holds too. Under the lock of that frame from before the CAS to after the list: a migrator moves it neither then
 * nor with a page that is on no list yet.
 */
export function moveOntoNode(
  shard: Shard,
  slot: Slot,
  pte: number,
  stable: StableId,
  target: Pfn,
): typeof MERGED | typeof CHANGED | typeof BUSY {
  const { memory } = shard;
  // A migrator has the lock for as long as a shootdown takes: nothing is merged onto the frame meanwhile (H11).
  if (!trylockPage(memory, target)) return BUSY;
  const moved = redirect(shard, slot, pte, target);
  if (moved) addSharer(shard, stable, slot);
  unlockPage(memory, target);
  return moved ? MERGED : CHANGED;
}

export function comparePages(shard: Shard, a: Pfn, b: Pfn): boolean {
  addWide(shard, WIDE_COMPARES, 1);
  return shard.memory.kernels.equalPages(a, b);
}

/** Points the page at `target`, of which the caller holds a reference; its old mapping goes to limbo. */
function redirect(shard: Shard, slot: Slot, pte: number, target: Pfn): boolean {
  const { memory } = shard;
  getPage(memory, target);
  addMapping(memory, target);
  if (!casPteMerged(memory, slot, pte, makePte(target, PTE_PRESENT | PTE_MERGED))) {
    dropMapping(memory, target);
    putPage(memory, target);
    return false;
  }
  dropMapping(memory, ptePfn(pte));
  pushLimbo(memory, guestOfSlot(memory, slot), ptePfn(pte));
  addWide(shard, WIDE_PAGES_MERGED, 1);
  return true;
}

/** Merges the page with a candidate: the candidate's frame becomes a KSM frame. STALE is the candidate's. */
export function mergeWithCandidate(shard: Shard, slot: Slot, candidate: Slot): MergeOutcome {
  const { memory } = shard;
  const pte = readPte(memory, candidate);
  const held = holdQuietPage(memory, candidate, pte);
  if (held !== MERGED) return held === CHANGED ? STALE : held;
  const target = ptePfn(pte);
  let outcome: MergeOutcome = BUSY;
  if (trylockPage(memory, target)) {
    if (heldByUsAlone(memory, target)) {
      outcome = pairLocked(shard, slot, candidate, pte);
    }
    unlockPage(memory, target);
  }
  putPage(memory, target);
  return outcome;
}

/** The candidate's frame is held and locked; now the scanned page's. */
function pairLocked(shard: Shard, slot: Slot, candidate: Slot, candidatePte: number): MergeOutcome {
  const { memory } = shard;
  const target = ptePfn(candidatePte);
  const pte = readPte(memory, slot);
  const held = holdQuietPage(memory, slot, pte);
  if (held !== MERGED) return held;
  const pfn = ptePfn(pte);
  let outcome = heldByUsAlone(memory, pfn)
    ? judgeCandidate(memory, slot, pfn, candidate, target)
    : BUSY;
  if (outcome === MERGED && !comparePages(shard, pfn, target)) outcome = DIFFERENT;
  if (outcome === MERGED) outcome = sealAndRedirect(shard, slot, pte, candidate, candidatePte);
  putPage(memory, pfn);
  if (outcome === MERGED) publishNode(shard, slot, candidate, target);
  return outcome;
}

/** As judgeNode. A candidate that was moved is met no more: it goes on at its new node (H21). */
function judgeCandidate(
  memory: Memory,
  slot: Slot,
  pfn: Pfn,
  candidate: Slot,
  target: Pfn,
): MergeOutcome {
  const tree = treeOfItem(memory, candidate);
  if (treeOfFrame(memory, target) !== tree) return STALE;
  if (treeOfFrame(memory, pfn) !== treeOfItem(memory, slot)) return CHANGED;
  return treeOfItem(memory, slot) === tree ? MERGED : DIFFERENT;
}

/** Seals the candidate, then points the page at its frame; or leaves both as they were. */
function sealAndRedirect(
  shard: Shard,
  slot: Slot,
  pte: number,
  candidate: Slot,
  candidatePte: number,
): MergeOutcome {
  const { memory } = shard;
  const target = ptePfn(candidatePte);
  const sealed = makePte(target, PTE_PRESENT | PTE_MERGED);
  // Sealed first: until then its guest may write the frame that we are about to share.
  if (!casPteMerged(memory, candidate, candidatePte, sealed)) return STALE;
  if (redirect(shard, slot, pte, target)) return MERGED;
  // Nobody else maps the frame and we hold its lock, so W may come back; if the candidate's guest wrote
  // meanwhile, it has its own copy and nothing is left to undo.
  casPteUnmerged(memory, candidate, sealed, candidatePte);
  return CHANGED;
}

/** Makes the node of a frame that two pages share by now. The frame is locked. */
function publishNode(shard: Shard, slot: Slot, candidate: Slot, target: Pfn): void {
  const { memory } = shard;
  const low = hashLow(memory, candidate);
  const high = hashHigh(memory, candidate);
  const tree = treeOfItem(memory, candidate);
  dropCandidate(shard, candidate);
  const stable = allocNode(shard, target, low, tree);
  addSharer(shard, stable, candidate);
  addSharer(shard, stable, slot);
  linkNode(shard, stable, target, high);
  // Last: from here on others find the node through its frame (O8, H16).
  setKsmMapping(memory, target, keyOf(memory, stable));
}
