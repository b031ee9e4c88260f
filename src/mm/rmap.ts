/**
 * rmap - from a frame to every pte that maps it.
 *
 * OWNS    stable.first, item.next and item.prev of linked items (the sharer list)
 *
 *   anonymous frame    mapping -> family -> each guest of it, at page.index
 *   KSM frame          mapping -> stable node -> first -> item -> item ...; for each item the guest it
 *                      belongs to, and the rest of that guest's family at the same gfn (clones that ksmd
 *                      has not visited yet have no item, H79)
 *
 * INVARIANTS
 *   RMAP-1  the sharer list changes only under the page lock of the node's frame, by the shard that owns
 *           the node; without a frame (a stale node) nobody else can reach the list.
 *   RMAP-2  every pte that maps the frame is visited, if nobody maps it meanwhile. A pte that stops
 *           mapping it may or may not be: whoever changes a pte does so by CAS against what it saw (H87).
 * ORDER   the page lock; pte.read
 * MODEL   test/model/rmap.test.ts
 * LINUX   rmap_walk_anon, rmap_walk_ksm.
 */
import { plainLoad, plainStore } from "../base/atomics.js";
import {
  ITEM_NEXT,
  ITEM_PREV,
  ITEM_WORDS,
  MAPPING_TAG_ANON,
  MAPPING_TAG_KSM,
  mappingId,
  mappingTag,
  PTE_NONE,
  ptePfn,
  STABLE_FIRST,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import {
  type Gfn,
  type GuestId,
  NONE,
  type Pfn,
  type Slot,
  type StableId,
  type WordIndex,
} from "../base/units.js";
import { guestBase, guestFamily, guestOfSlot, guestPages, nextInFamily } from "./guest.js";
import { stableWord } from "./keyhole.js";
import { frameIndex, readMapping } from "./page-mapping.js";
import { pteIsPresent, readPte } from "./pte.js";

export function itemWord(memory: Memory, slot: Slot): WordIndex {
  return memory.layout.items + slot * ITEM_WORDS;
}

/** First sharer of the node, or NONE. */
export function firstSharer(memory: Memory, stable: StableId): Slot {
  return plainLoad(memory.control, stableWord(memory, stable) + STABLE_FIRST) - 1;
}

/** The sharer after `slot`, or NONE. */
export function nextSharer(memory: Memory, slot: Slot): Slot {
  return plainLoad(memory.control, itemWord(memory, slot) + ITEM_NEXT) - 1;
}

/** Puts the item at the head of the node's list. */
export function linkSharer(memory: Memory, stable: StableId, slot: Slot): void {
  const { control } = memory;
  const head = stableWord(memory, stable) + STABLE_FIRST;
  const next = plainLoad(control, head);
  plainStore(control, itemWord(memory, slot) + ITEM_PREV, 0);
  plainStore(control, itemWord(memory, slot) + ITEM_NEXT, next);
  if (next !== 0) plainStore(control, itemWord(memory, next - 1) + ITEM_PREV, slot + 1);
  plainStore(control, head, slot + 1);
}

/** Takes the item off the node's list. */
export function unlinkSharer(memory: Memory, stable: StableId, slot: Slot): void {
  const { control } = memory;
  const previous = plainLoad(control, itemWord(memory, slot) + ITEM_PREV);
  const next = plainLoad(control, itemWord(memory, slot) + ITEM_NEXT);
  const link =
    previous === 0
      ? stableWord(memory, stable) + STABLE_FIRST
      : itemWord(memory, previous - 1) + ITEM_NEXT;
  plainStore(control, link, next);
  if (next !== 0) plainStore(control, itemWord(memory, next - 1) + ITEM_PREV, previous);
}

/**
 * Visits every (guest, slot) whose pte maps the frame, and the pte as it was read; `visit` returns false
 * to end the walk. Two sharers of one family at one gfn are visited twice. The caller holds the page lock.
 */
export function walkMappings(
  memory: Memory,
  pfn: Pfn,
  visit: (guest: GuestId, slot: Slot, pte: number) => boolean,
): void {
  const mapping = readMapping(memory, pfn);
  if (mappingTag(mapping) === MAPPING_TAG_ANON) {
    walkFamily(memory, pfn, mappingId(mapping), frameIndex(memory, pfn), visit);
  } else if (mappingTag(mapping) === MAPPING_TAG_KSM) {
    let slot = firstSharer(memory, mappingId(mapping));
    while (slot !== NONE) {
      const guest = guestOfSlot(memory, slot);
      const gfn = slot - guestBase(memory, guest);
      if (!walkFamily(memory, pfn, guestFamily(memory, guest), gfn, visit)) return;
      slot = nextSharer(memory, slot);
    }
  }
}

function walkFamily(
  memory: Memory,
  pfn: Pfn,
  family: GuestId,
  gfn: Gfn,
  visit: (guest: GuestId, slot: Slot, pte: number) => boolean,
): boolean {
  for (let guest = family; guest !== NONE; guest = nextInFamily(memory, guest)) {
    if (gfn >= guestPages(memory, guest)) continue;
    const slot = guestBase(memory, guest) + gfn;
    const pte = readPte(memory, slot);
    if (pte === PTE_NONE || !pteIsPresent(pte) || ptePfn(pte) !== pfn) continue;
    if (!visit(guest, slot, pte)) return false;
  }
  return true;
}
