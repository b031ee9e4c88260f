/**
 * item - the rmap item: ksmd's record of one guest page.
 *
 * OWNS    item.state, item.hash (item.next and item.prev of linked items: mm/rmap.ts)
 *
 *               first seen            hashed, nothing equal          merged
 *      UNSEEN -------------> VOLATILE -------------------> UNSTABLE --------> STABLE
 *                             ^  |  ^          written       |                  |
 *                             |  |  +------------------------+                  |
 *                             |  +--------- merged onto a stable node ---------> |
 *                             +-- written, or the node's frame is gone ----------+
 *
 * Only the shard's thread touches items (the list links under the page lock as well), so they need no
 * atomics. pages_volatile is what is left of the items when the other three counters are taken off.
 *
 * INVARIANTS
 *   ITEM-1  UNSTABLE <=> the page is in the index as a candidate, under its hash, which is trusted.
 *   ITEM-2  STABLE <=> the item is on the sharer list of the node that it names, and is counted there.
 *   ITEM-3  T (trusted) => the hash is that of the page's bytes in the item's tree, unless its pte has D.
 * MODEL   test/model/merge.test.ts
 * LINUX   struct ksm_rmap_item.
 */
import { plainLoad, plainStore } from "../base/atomics.js";
import {
  ITEM_HASH_HIGH,
  ITEM_HASH_LOW,
  ITEM_STABLE,
  ITEM_STATE,
  ITEM_TRUSTED,
  itemNumber,
  itemState,
  makeItemState,
  STABLE_HASH_LOW,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import type { Nid, Slot, StableId } from "../base/units.js";
import { stableWord } from "../mm/keyhole.js";
import { itemWord } from "../mm/rmap.js";

/** ITEM_UNSEEN, ITEM_VOLATILE, ITEM_UNSTABLE or ITEM_STABLE. */
export function stateOf(memory: Memory, slot: Slot): number {
  return itemState(plainLoad(memory.control, itemWord(memory, slot) + ITEM_STATE));
}

/** The stable node of a STABLE item. */
export function nodeOfItem(memory: Memory, slot: Slot): StableId {
  return itemNumber(plainLoad(memory.control, itemWord(memory, slot) + ITEM_STATE));
}

/** A state other than STABLE; the hash is no longer trusted. */
export function setState(memory: Memory, slot: Slot, state: number): void {
  plainStore(memory.control, itemWord(memory, slot) + ITEM_STATE, makeItemState(state, 0));
}

/** As setState, and the hash is trusted, or stays so: that of the page in this tree. */
export function setTrustedState(memory: Memory, slot: Slot, state: number, tree: Nid): void {
  const word = itemWord(memory, slot) + ITEM_STATE;
  plainStore(memory.control, word, makeItemState(state, tree) | ITEM_TRUSTED);
}

/** The tree of an item with a trusted hash. */
export function treeOfItem(memory: Memory, slot: Slot): Nid {
  return itemNumber(plainLoad(memory.control, itemWord(memory, slot) + ITEM_STATE));
}

/** STABLE, of this node; by whoever puts the item on its list. */
export function setStable(memory: Memory, slot: Slot, stable: StableId): void {
  const word = itemWord(memory, slot) + ITEM_STATE;
  plainStore(memory.control, word, makeItemState(ITEM_STABLE, stable));
}

export function hashIsTrusted(memory: Memory, slot: Slot): boolean {
  return (plainLoad(memory.control, itemWord(memory, slot) + ITEM_STATE) & ITEM_TRUSTED) !== 0;
}

/** Low half of the hash of an item that is not STABLE (there the node has it). */
export function hashLow(memory: Memory, slot: Slot): number {
  return plainLoad(memory.control, itemWord(memory, slot) + ITEM_HASH_LOW);
}

export function hashHigh(memory: Memory, slot: Slot): number {
  return plainLoad(memory.control, itemWord(memory, slot) + ITEM_HASH_HIGH);
}

export function setHash(memory: Memory, slot: Slot, low: number, high: number): void {
  plainStore(memory.control, itemWord(memory, slot) + ITEM_HASH_LOW, low);
  setHashHigh(memory, slot, high);
}

/** The same of an item that is STABLE, or about to be. */
export function setHashHigh(memory: Memory, slot: Slot, high: number): void {
  plainStore(memory.control, itemWord(memory, slot) + ITEM_HASH_HIGH, high);
}

/** Low half of the hash of a stable node's content. */
export function stableHashLow(memory: Memory, stable: StableId): number {
  return plainLoad(memory.control, stableWord(memory, stable) + STABLE_HASH_LOW);
}
