/**
 * guest - the records of guests: where their pages lie in the tables, and who belongs to whose family.
 *
 * OWNS    guest.state, guest.base, guest.pages, guest.node, guest.family, guest.familyNext, chunk owners
 *
 * A guest takes a run of slots, in chunks; its pte and rmap item of page gfn have number base + gfn.
 * Guests of one family may map one frame at the same gfn (a clone and its parent).
 *
 * INVARIANTS
 *   GUEST-1  a guest that is LIVE has its record and its chunk owners written; they stay constant, all but
 *           the home node.
 *   GUEST-2  the family list of a guest holds every guest with the same family, itself included.
 * ORDER   guest.publish -> guest.see
 * MODEL   test/model/rmap.test.ts
 */
import {
  casWord,
  loadWord,
  plainLoad,
  plainStore,
  racyLoad,
  racyStore,
  storeWord,
} from "../base/atomics.js";
import {
  CHUNK_SHIFT,
  CHUNK_SLOTS,
  ENGINE_GUESTS,
  GUEST_BASE,
  GUEST_FAMILY,
  GUEST_FAMILY_NEXT,
  GUEST_LIVE,
  GUEST_NODE,
  GUEST_PAGES,
  GUEST_STATE,
  GUEST_WORDS,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type GuestId, type Nid, NONE, type Slot, type WordIndex } from "../base/units.js";

export function guestWord(memory: Memory, guest: GuestId): WordIndex {
  return memory.layout.guests + guest * GUEST_WORDS;
}

/** First slot of the guest: that of gfn 0. */
export function guestBase(memory: Memory, guest: GuestId): Slot {
  return plainLoad(memory.control, guestWord(memory, guest) + GUEST_BASE);
}

export function guestPages(memory: Memory, guest: GuestId): number {
  return plainLoad(memory.control, guestWord(memory, guest) + GUEST_PAGES);
}

/** Home node: its frames are taken first. */
export function guestNode(memory: Memory, guest: GuestId): Nid {
  // RACY: a fault that reads the old home takes a frame there, which is a matter of speed alone.
  return racyLoad(memory.control, guestWord(memory, guest) + GUEST_NODE);
}

/** Gives the guest another home; frames that it has stay where they are. */
export function setGuestNode(memory: Memory, guest: GuestId, node: Nid): void {
  // RACY: as above.
  racyStore(memory.control, guestWord(memory, guest) + GUEST_NODE, node);
}

export function guestFamily(memory: Memory, guest: GuestId): number {
  return plainLoad(memory.control, guestWord(memory, guest) + GUEST_FAMILY);
}

/** Guest whose page has this slot. */
export function guestOfSlot(memory: Memory, slot: Slot): GuestId {
  return plainLoad(memory.control, memory.layout.chunkOwners + (slot >>> CHUNK_SHIFT)) - 1;
}

export function guestIsLive(memory: Memory, guest: GuestId): boolean {
  // ORDER guest.see <- guest.publish
  return loadWord(memory.control, guestWord(memory, guest) + GUEST_STATE) === GUEST_LIVE;
}

/** Guests ever created: their numbers are below this. Not all of them need be live. */
export function guestCount(memory: Memory): number {
  // ORDER guests.count <- guests.claim
  return loadWord(memory.control, memory.layout.engine + ENGINE_GUESTS);
}

/** Takes the next guest number; NONE: the table is full. By the thread that creates guests. */
export function claimGuest(memory: Memory): GuestId {
  const guest = guestCount(memory);
  if (guest >= memory.sizes.guests) return NONE;
  // ORDER guests.claim -> guests.count: the record is still UNUSED; else a scan reads one of before.
  storeWord(memory.control, memory.layout.engine + ENGINE_GUESTS, guest + 1);
  return guest;
}

/** Slots that a guest of `pages` pages takes. */
export function slotsFor(pages: number): number {
  return Math.ceil(pages / CHUNK_SLOTS) * CHUNK_SLOTS;
}

/** Writes the record of a new guest and makes it live, all of it mergeable or not. It is a family of its own. */
export function initGuest(
  memory: Memory,
  guest: GuestId,
  base: Slot,
  pages: number,
  node: Nid,
  mergeable = true,
): void {
  const { control, layout } = memory;
  const record = guestWord(memory, guest);
  for (let gfn = 0; mergeable && gfn < pages; gfn += 32) {
    const bits = Math.min(32, pages - gfn);
    const word = layout.mergeable + ((base + gfn) >>> 5);
    plainStore(control, word, bits === 32 ? -1 : (1 << bits) - 1);
  }
  for (let chunk = base >>> CHUNK_SHIFT; chunk << CHUNK_SHIFT < base + pages; chunk++) {
    plainStore(control, layout.chunkOwners + chunk, guest + 1);
  }
  plainStore(control, record + GUEST_BASE, base);
  plainStore(control, record + GUEST_PAGES, pages);
  plainStore(control, record + GUEST_NODE, node);
  plainStore(control, record + GUEST_FAMILY, guest);
  // ORDER guest.publish -> guest.see: the record first; else ksmd scans slots that are not the guest's.
  storeWord(control, record + GUEST_STATE, GUEST_LIVE);
}

/** Adds `guest`, which maps nothing yet, to the family of `relative`. */
export function joinFamily(memory: Memory, guest: GuestId, relative: GuestId): void {
  const { control } = memory;
  const family = guestFamily(memory, relative);
  const head = guestWord(memory, family) + GUEST_FAMILY_NEXT;
  plainStore(control, guestWord(memory, guest) + GUEST_FAMILY, family);
  for (;;) {
    // ORDER family.join <-> family.walk: linked before the guest maps anything; else a reverse walk
    // misses its pte (H79).
    const next = loadWord(control, head);
    plainStore(control, guestWord(memory, guest) + GUEST_FAMILY_NEXT, next);
    if (casWord(control, head, next, guest + 1) === next) return;
  }
}

/** The guest after `guest` in its family's list, which begins with the guest named by the family; NONE at the end. */
export function nextInFamily(memory: Memory, guest: GuestId): GuestId {
  // ORDER family.walk <- family.join
  const next = loadWord(memory.control, guestWord(memory, guest) + GUEST_FAMILY_NEXT);
  return next === 0 ? NONE : next - 1;
}
