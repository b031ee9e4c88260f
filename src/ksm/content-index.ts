/**
 * content-index - from a hash to the contents that have it: merged ones, and pages that wait for an equal.
 *
 * OWNS    the index's private words; stable.sibling; item.next of UNSTABLE items
 *
 * One table serves as stable and as unstable index: a hash leads to a list of contents, each named by the
 * front of its ring of stable nodes or by a candidate page. Nearly every list has one content; contents
 * with one hash coexist, and a look-up tries each (a hash is advice): by a few words (ksm/peek.ts), then in
 * full. A list of LIST_MAX contents is closed, and further contents go to lists under a second hash
 * (ksm/rehash.ts), so n different contents under one hash cost at most about 2 LIST_MAX looks each.
 *
 *   table   open addressing, linear probing: {hash, low and high half, content}; home = low half scaled to
 *           the capacity (multiply-shift: the capacity need not be a power of two, and entries stand nearly
 *           in order of it, so that growing reads one table and writes the other from end to end).
 *           Removal shifts back.
 *   header  [0] entries in use
 *
 * The table is private to its shard; words, so that the explorer can replay it.
 *
 * INVARIANTS
 *   INDEX-1  each list holds contents of one hash; each candidate and each ring of stable nodes is in
 *            exactly one list, once.
 *   INDEX-2  entries between a hash's home and its entry are in use (no holes).
 * MODEL   test/unit/content-index.test.ts (private to one thread: nothing to interleave)
 */
import { plainLoad, plainStore } from "../base/atomics.js";
import { ITEM_NEXT, STABLE_SIBLING } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Slot, StableId } from "../base/units.js";
import { stableWord } from "../mm/keyhole.js";
import { itemWord } from "../mm/rmap.js";

/** A candidate page or a stable node: `number << 2 | kind`. */
export type Content = number;
export const NO_CONTENT = 0;
const KIND_CANDIDATE = 1;
const KIND_STABLE = 2;
const KIND_MASK = 3;

export function candidateContent(slot: Slot): Content {
  return (slot << 2) | KIND_CANDIDATE;
}

export function stableContent(stable: StableId): Content {
  return (stable << 2) | KIND_STABLE;
}

export function contentIsStable(content: Content): boolean {
  return (content & KIND_MASK) === KIND_STABLE;
}

/** Slot of a candidate, or number of a stable node. */
export function contentNumber(content: Content): number {
  return content >>> 2;
}

const HEADER_WORDS = 2;
const ENTRY_WORDS = 3;
const ENTRY_HIGH = 1;
const ENTRY_CONTENT = 2;
const INITIAL_ENTRIES = 64;

export interface ContentIndex {
  words: Int32Array;
  entries: number;
  /** Hashes whose lists are closed, folded to one number: two that fold alike are both closed, no harm done. */
  readonly closed: Set<number>;
}

export function createIndex(): ContentIndex {
  return {
    words: new Int32Array(HEADER_WORDS + INITIAL_ENTRIES * ENTRY_WORDS),
    entries: INITIAL_ENTRIES,
    closed: new Set(),
  };
}

/** Forgets everything; the lists' links in items and nodes are the caller's to reset. */
export function clearIndex(index: ContentIndex): void {
  for (let word = 0; word < index.words.length; word++) plainStore(index.words, word, 0);
  index.closed.clear();
}

/** From now on nothing more is added to the list of this hash. */
export function closeList(index: ContentIndex, low: number, high: number): void {
  index.closed.add(fold(low, high));
}

export function listIsClosed(index: ContentIndex, low: number, high: number): boolean {
  return index.closed.size > 0 && index.closed.has(fold(low, high));
}

function fold(low: number, high: number): number {
  return (low >>> 0) + (high & 0xfffff) * 2 ** 32;
}

/** Hashes in the table. */
export function indexSize(index: ContentIndex): number {
  return plainLoad(index.words, 0);
}

/** First content with this hash, or NO_CONTENT. */
export function findContent(index: ContentIndex, low: number, high: number): Content {
  const word = findEntry(index, low, high);
  return word < 0 ? NO_CONTENT : plainLoad(index.words, word + ENTRY_CONTENT);
}

/** What stands where the search for this hash begins; nothing follows from it but that its line is near now. */
export function contentAtHome(index: ContentIndex, low: number): Content {
  return plainLoad(index.words, homeOf(index, low) + ENTRY_CONTENT);
}

/** The next content with the same hash. */
export function nextContent(memory: Memory, content: Content): Content {
  return plainLoad(memory.control, linkOf(memory, content));
}

/** Puts a content in front of the others with its hash. */
export function insertContent(
  index: ContentIndex,
  memory: Memory,
  low: number,
  high: number,
  content: Content,
): void {
  const word = findEntry(index, low, high);
  if (word >= 0) {
    const next = plainLoad(index.words, word + ENTRY_CONTENT);
    plainStore(memory.control, linkOf(memory, content), next);
    plainStore(index.words, word + ENTRY_CONTENT, content);
    return;
  }
  plainStore(memory.control, linkOf(memory, content), NO_CONTENT);
  const used = indexSize(index) + 1;
  if (used * 4 > index.entries * 3) grow(index);
  plainStore(index.words, 0, used);
  putEntry(index, low, high, content);
}

/** Takes a content out; false: it was not there. */
export function removeContent(
  index: ContentIndex,
  memory: Memory,
  low: number,
  high: number,
  content: Content,
): boolean {
  return replaceContent(index, memory, low, high, content, NO_CONTENT);
}

/** Puts `fresh` (or nothing, NO_CONTENT) in the place of `content`; false: `content` was not there. */
export function replaceContent(
  index: ContentIndex,
  memory: Memory,
  low: number,
  high: number,
  content: Content,
  fresh: Content,
): boolean {
  const word = findEntry(index, low, high);
  if (word < 0) return false;
  let words = index.words;
  let link = word + ENTRY_CONTENT;
  for (let at = plainLoad(words, link); at !== content; at = plainLoad(words, link)) {
    if (at === NO_CONTENT) return false;
    words = memory.control;
    link = linkOf(memory, at);
  }
  const next = nextContent(memory, content);
  if (fresh !== NO_CONTENT) plainStore(memory.control, linkOf(memory, fresh), next);
  plainStore(words, link, fresh === NO_CONTENT ? next : fresh);
  if (plainLoad(index.words, word + ENTRY_CONTENT) === NO_CONTENT) deleteEntry(index, word);
  return true;
}

function linkOf(memory: Memory, content: Content): number {
  const number = contentNumber(content);
  return contentIsStable(content)
    ? stableWord(memory, number) + STABLE_SIBLING
    : itemWord(memory, number) + ITEM_NEXT;
}

/** Word of the entry where the search for `low` begins. */
function homeOf(index: ContentIndex, low: number): number {
  const entry = Math.floor(((low >>> 0) * index.entries) / 2 ** 32);
  return HEADER_WORDS + entry * ENTRY_WORDS;
}

function nextEntry(index: ContentIndex, word: number): number {
  const next = word + ENTRY_WORDS;
  return next === index.words.length ? HEADER_WORDS : next;
}

/** Word of the entry of this hash, or -1. */
function findEntry(index: ContentIndex, low: number, high: number): number {
  const { words } = index;
  for (let word = homeOf(index, low); ; word = nextEntry(index, word)) {
    if (plainLoad(words, word + ENTRY_CONTENT) === NO_CONTENT) return -1;
    if (plainLoad(words, word) === low && plainLoad(words, word + ENTRY_HIGH) === high) return word;
  }
}

function putEntry(index: ContentIndex, low: number, high: number, content: Content): void {
  const { words } = index;
  let word = homeOf(index, low);
  while (plainLoad(words, word + ENTRY_CONTENT) !== NO_CONTENT) word = nextEntry(index, word);
  plainStore(words, word, low);
  plainStore(words, word + ENTRY_HIGH, high);
  plainStore(words, word + ENTRY_CONTENT, content);
}

/** Removes an entry and moves back those that had to probe past it (INDEX-2). */
function deleteEntry(index: ContentIndex, removed: number): void {
  const { words } = index;
  const size = words.length - HEADER_WORDS;
  const distance = (from: number, to: number): number => (to - from + size) % size;
  let hole = removed;
  plainStore(words, 0, indexSize(index) - 1);
  for (let word = nextEntry(index, hole); ; word = nextEntry(index, word)) {
    const content = plainLoad(words, word + ENTRY_CONTENT);
    if (content === NO_CONTENT) break;
    const low = plainLoad(words, word);
    if (distance(homeOf(index, low), word) < distance(hole, word)) continue;
    plainStore(words, hole, low);
    plainStore(words, hole + ENTRY_HIGH, plainLoad(words, word + ENTRY_HIGH));
    plainStore(words, hole + ENTRY_CONTENT, content);
    hole = word;
  }
  plainStore(words, hole, 0);
  plainStore(words, hole + ENTRY_HIGH, 0);
  plainStore(words, hole + ENTRY_CONTENT, NO_CONTENT);
}

/** Half as large again: loads between a half and three quarters. */
function grow(index: ContentIndex): void {
  const old = index.words;
  index.entries += index.entries >>> 1;
  index.words = new Int32Array(HEADER_WORDS + index.entries * ENTRY_WORDS);
  plainStore(index.words, 0, plainLoad(old, 0));
  for (let word = HEADER_WORDS; word < old.length; word += ENTRY_WORDS) {
    const content = plainLoad(old, word + ENTRY_CONTENT);
    if (content !== NO_CONTENT)
      putEntry(index, plainLoad(old, word), plainLoad(old, word + ENTRY_HIGH), content);
  }
}
