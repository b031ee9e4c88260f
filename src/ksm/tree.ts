/**
 * tree - with which pages a page may share a frame: all (merge_across_nodes 1), or those of its frame's node (0).
 *
 * There is one index. A tree is a way to write hashes: equal pages of two trees have different ones, so they
 * stand in different lists and do not meet. That is advice, like every hash; whether two frames are of one node
 * is looked at when both are held (ksm/merge.ts), because a held frame is not moved.
 *
 * What has its place in a tree may be moved to another node at any moment: then the page is marked
 * (mm/moved.ts), and gets another place when it is visited.
 * LINUX   get_kpfn_nid, NUMA(), and the arrays of roots.
 */
import { ptePfn } from "../base/layout.js";
import { type Memory, nodeOf } from "../base/memory.js";
import type { Nid, Pfn, Slot } from "../base/units.js";
import { pteIsPresent, readPte } from "../mm/pte.js";
import { treeOfItem } from "./item.js";
import { knobMergeAcrossNodes } from "./knobs.js";

/** The tree of what lies in the frame. Holds for as long as the caller holds the frame. */
export function treeOfFrame(memory: Memory, pfn: Pfn): Nid {
  return knobMergeAcrossNodes(memory) ? 0 : nodeOf(memory, pfn);
}

/** The low half of a hash, as it is written in the tree. */
export function hashInTree(low: number, tree: Nid): number {
  return low ^ Math.imul(tree, 0x9e3779b1);
}

/**
 * Is the page, whose hash is trusted, in a frame of its tree? False also while the pte is an entry: it may name the
 * frame that is being left. True holds until the page is marked.
 */
export function isInTree(memory: Memory, slot: Slot): boolean {
  if (knobMergeAcrossNodes(memory)) return true;
  const pte = readPte(memory, slot);
  return pteIsPresent(pte) && nodeOf(memory, ptePfn(pte)) === treeOfItem(memory, slot);
}
