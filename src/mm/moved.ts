/**
 * moved - pages that were brought to another node, until ksmd takes note.
 *
 * OWNS    the moved bitmap
 *
 *            a migrator maps the page on its new node         a harvest takes the word
 *      0 ----------------------------------------------> 1 ------------------------------> 0, pending
 *
 * ksmd visits no page that was not written. With merge_across_nodes 0 it must also visit those whose frame
 * is not where it was when it gave them their place. Marks say no more than "look again": one too many costs
 * a visit. With merge_across_nodes 1 nobody takes them, and they mean nothing.
 *
 * INVARIANTS
 *   MOVED-1  with merge_across_nodes 0: the tree of a candidate, or of the stable node that a merged page is
 *            on, is the node of its frame; or the page is marked here or pending; or the node is on the
 *            migrate list.
 * ORDER   moved.mark <-> moved.take
 * MODEL   test/model/replace.test.ts
 * LINUX   nothing alike: ksmd comes to every page in every pass.
 */
import { exchangeWord, loadWord, orWord } from "../base/atomics.js";
import type { Memory } from "../base/memory.js";
import type { Slot } from "../base/units.js";

/** The page is about to be mapped onto a frame of another node; its pte is an entry of the caller's. */
export function markMoved(memory: Memory, slot: Slot): void {
  // ORDER moved.mark <-> moved.take, moved.look, moved.see: after the node names the new frame (kpfn.flip), before the
  // pte does (pte.finish); else ksmd takes the mark, finds the frame where it was, and the move is forgotten.
  orWord(memory.control, memory.layout.moved + (slot >>> 5), 1 << (slot & 31));
}

/** Takes the marks of 32 pages, from slot `first` on: one bit each. */
export function takeMoved(memory: Memory, first: Slot): number {
  const word = memory.layout.moved + (first >>> 5);
  // ORDER moved.look <- moved.mark
  if (loadWord(memory.control, word) === 0) return 0;

  // ORDER moved.take <-> moved.mark: in one step; else a mark that is made meanwhile is lost.
  return exchangeWord(memory.control, word, 0);
}

/** Is the page marked? For check(). */
export function isMoved(memory: Memory, slot: Slot): boolean {
  // ORDER moved.see <- moved.mark
  const marks = loadWord(memory.control, memory.layout.moved + (slot >>> 5));
  return (marks & (1 << (slot & 31))) !== 0;
}
