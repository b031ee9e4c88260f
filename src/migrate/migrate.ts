/**
 * migrate - moves frames to another node while guests, ksmd and other migrators go on.
 *
 *   each frame    reference, page lock, a frame of the target node
 *   each pte      CAS to an entry; its reference and mapcount are dropped
 *   each guest    one shootdown
 *   each frame    freeze at exactly our reference
 *   each frame    copy
 *   each frame    name the new frame; retire the old one
 *   its ptes      reference and mapcount on the new frame; the pte with its pfn, all flags as they were
 *                 unlock; free the old one
 *
 * Whatever goes wrong for a frame before it is frozen puts its ptes back word for word. A frame that is
 * frozen is moved: from there on nothing can fail.
 *
 * All page locks are tried, none is waited for: a migrator holds many. It waits for nothing but its
 * shootdowns, and is in no vCPU then. Whoever meets an entry sleeps on the pte until it is finished.
 *
 * INVARIANTS
 *   MIGRATE-1  every pte that mapped the old frame when it was frozen maps the new one afterwards, with the
 *              same flags, and the bytes are those of the freeze.
 *   MIGRATE-2  a frame that was not moved is as it was: ptes, mapcount, references, mapping word.
 *   MIGRATE-3  the old frame is free afterwards, and no TLB translates to it: it may be reused at once.
 *   MIGRATE-4  a stable node never looks stale: its look-ups find the old frame, a frozen one, or the new one.
 * ORDER   pte.cas, seq.bump, ref.freeze, kpfn.flip, moved.mark, pte.finish
 * LOCKS   page locks of old frames and of new ones, by trylock
 * MODEL   test/model/migrate.test.ts, test/model/migrate-rivals.test.ts
 * LINUX   migrate_pages_batch, migrate_folio_unmap, folio_migrate_mapping, remove_migration_ptes.
 */
import {
  MAPPING_NOBODY,
  MAPPING_TAG_ANON,
  MAPPING_TAG_KSM,
  makePte,
  mappingId,
  mappingTag,
  PTE_FLAGS_MASK,
} from "../base/layout.js";
import { isFrame, type Memory, nodeOf } from "../base/memory.js";
import { type Nid, NONE, type Pfn, type Slot } from "../base/units.js";
import { allocFrameOn, freeFrame, freeFrames, putPage } from "../mm/frames.js";
import { guestBase, guestOfSlot } from "../mm/guest.js";
import { moveStableFrame } from "../mm/keyhole.js";
import { beginDrain, drainAllLimbo, endDrain } from "../mm/limbo.js";
import { markMoved } from "../mm/moved.js";
import { trylockPage, unlockPage } from "../mm/page-lock.js";
import { clearMapping, frameIndex, readMapping } from "../mm/page-mapping.js";
import {
  addMapping,
  dropMapping,
  freezePage,
  getPage,
  mapcount,
  REF_FROZEN,
  REF_HELD,
  tryGetPage,
  unfreezePage,
} from "../mm/page-ref.js";
import { casPte, entryFor, finishEntry } from "../mm/pte.js";
import { walkMappings } from "../mm/rmap.js";
import { awaitShootdown, beginShootdown } from "../mm/shootdown.js";
import {
  addFrame,
  addPlace,
  BATCH_FRAMES,
  emptyBatch,
  firstPlace,
  MIGRATE_BUSY,
  MIGRATE_NO_FRAME,
  MIGRATE_PINNED,
  MIGRATE_RACED,
  MIGRATE_TIMEOUT,
  MIGRATED,
  type MigrateOutcome,
  type MigrationBatch,
  OUTCOMES,
  type Tally,
} from "./batch.js";
import { addToTotals } from "./totals.js";

/** Moves the frames to node `nid`, in batches; adds what each came to to `tally`. */
export function migrateFrames(
  memory: Memory,
  pfns: ArrayLike<Pfn>,
  nid: Nid,
  batch: MigrationBatch,
  tally: Tally,
): void {
  for (let at = 0; at < pfns.length; at += BATCH_FRAMES) {
    migrateBatch(memory, pfns, at, nid, batch);
    addToTotals(memory, batch.tally);
    for (let outcome = 0; outcome < OUTCOMES; outcome++) {
      tally[outcome] += batch.tally[outcome] as number;
    }
  }
}

/** The batch that begins with frame `from`. */
function migrateBatch(
  memory: Memory,
  pfns: ArrayLike<Pfn>,
  from: number,
  nid: Nid,
  batch: MigrationBatch,
): void {
  const { tally } = batch;
  const to = Math.min(pfns.length, from + BATCH_FRAMES);
  emptyBatch(batch);
  // Nothing is locked yet: frames that only limbo holds can be waited for.
  if (freeFrames(memory, nid) < to - from) drainAllLimbo(memory, memory.patience.scanMs);
  // A page being moved has two frames, of which one will be free: who finds none waits for it.
  beginDrain(memory);
  // Every target is ours before the first entry: nobody waits while we look for a frame.
  for (let at = from; at < to; at++) {
    const outcome = prepare(memory, pfns[at] as Pfn, nid, batch);
    if (outcome !== MIGRATED) tally[outcome]++;
  }
  for (let i = 0; i < batch.count; i++) unmap(memory, batch, i);
  shootDown(memory, batch);
  for (let i = 0; i < batch.count; i++) batch.outcomes[i] = takeAway(memory, batch, i);
  // In one go, with nothing in between: so the copies stream.
  for (let i = 0; i < batch.count; i++) copy(memory, batch, i);
  for (let i = 0; i < batch.count; i++) tally[finish(memory, batch, i)]++;
  endDrain(memory);
}

/** Gets and locks a frame, and one of the node to move it to. */
function prepare(memory: Memory, old: Pfn, nid: Nid, batch: MigrationBatch): MigrateOutcome {
  if (!isFrame(memory, old)) return MIGRATE_RACED;
  const got = tryGetPage(memory, old);
  if (got !== REF_HELD) return got === REF_FROZEN ? MIGRATE_BUSY : MIGRATE_RACED;
  if (!trylockPage(memory, old)) {
    putPage(memory, old);
    return MIGRATE_BUSY;
  }
  const mapping = readMapping(memory, old);
  const target = mapping === MAPPING_NOBODY ? NONE : allocFor(memory, old, mapping, nid);
  if (target !== NONE && trylockPage(memory, target)) {
    addFrame(batch, old, target);
    return MIGRATED;
  }
  unlockPage(memory, old);
  putPage(memory, old);
  if (mapping === MAPPING_NOBODY) return MIGRATE_RACED;
  if (target === NONE) return MIGRATE_NO_FRAME;
  // Another migrator, at random, tries the very frame that we took.
  putPage(memory, target);
  return MIGRATE_BUSY;
}

/**
 * A free frame of the node, owned as the old one is. A KSM frame's gets its key only when it has the bytes;
 * until then it passes for one of guest 0, where no walk finds a pte that maps it.
 */
function allocFor(memory: Memory, old: Pfn, mapping: number, nid: Nid): Pfn {
  return mappingTag(mapping) === MAPPING_TAG_ANON
    ? allocFrameOn(memory, nid, mappingId(mapping), frameIndex(memory, old))
    : allocFrameOn(memory, nid, 0, 0);
}

/** Makes every pte that maps the frame an entry of ours. */
function unmap(memory: Memory, batch: MigrationBatch, i: number): void {
  const old = batch.olds[i] as Pfn;
  walkMappings(memory, old, (guest, slot, pte) => {
    // Lost to a fault, an unmerge or a pin: it is no mapping of this frame any more, or is met by the count below.
    if (casPte(memory, slot, pte, entryFor(pte))) {
      addPlace(batch, guest, slot - guestBase(memory, guest), slot, pte);
      dropMapping(memory, old);
      putPage(memory, old);
    }
    return true;
  });
  batch.placeEnds[i] = batch.slots.length;
}

/** One shootdown for each guest: all are begun before the first is waited for. */
function shootDown(memory: Memory, batch: MigrationBatch): void {
  const { guests, pages, sequences, stuck } = batch;
  for (const guest of guests) {
    sequences[guest] = beginShootdown(memory, guest, pages[guest] as number);
  }
  const { scanMs } = memory.patience;
  for (const guest of guests) {
    const page = pages[guest] as number;
    const sequence = sequences[guest] as number;
    if (awaitShootdown(memory, guest, page, sequence, scanMs) !== NONE) stuck[guest] = 1;
  }
}

/** The bytes of a frame that is frozen. */
function copy(memory: Memory, batch: MigrationBatch, i: number): void {
  if (batch.outcomes[i] !== MIGRATED) return;
  memory.kernels.copyPage(batch.targets[i] as Pfn, batch.olds[i] as Pfn);
}

/** Puts the new frame in the place of the old one if that is frozen, or everything back. */
function finish(memory: Memory, batch: MigrationBatch, i: number): MigrateOutcome {
  const old = batch.olds[i] as Pfn;
  const target = batch.targets[i] as Pfn;
  const outcome = batch.outcomes[i] as MigrateOutcome;
  if (outcome === MIGRATED) rename(memory, old, target);
  mapPlaces(memory, batch, i, outcome === MIGRATED ? target : old);
  unlockPage(memory, target);
  putPage(memory, target);
  unlockPage(memory, old);
  if (outcome === MIGRATED) {
    unfreezePage(memory, old, 0);
    freeFrame(memory, old);
  } else {
    putPage(memory, old);
  }
  return outcome;
}

/** Freezes the frame if it is ours alone by now; anything but MIGRATED: it is not. */
function takeAway(memory: Memory, batch: MigrationBatch, i: number): MigrateOutcome {
  const old = batch.olds[i] as Pfn;
  const end = batch.placeEnds[i] as number;
  const begin = firstPlace(batch, i);
  // Nothing maps it: it is on its way to be freed, or has just been taken.
  if (begin === end) return MIGRATE_RACED;
  for (let place = begin; place < end; place++) {
    if (batch.stuck[guestOfSlot(memory, batch.slots[place] as Slot)] === 1) return MIGRATE_TIMEOUT;
  }
  if (mapcount(memory, old) !== 0) return MIGRATE_RACED;
  return freezePage(memory, old, 1) ? MIGRATED : MIGRATE_PINNED;
}

/** From the old frame, frozen, to the new one, which has its bytes. */
function rename(memory: Memory, old: Pfn, target: Pfn): void {
  const key = readMapping(memory, old);
  if (mappingTag(key) === MAPPING_TAG_KSM) {
    moveStableFrame(memory, mappingId(key), key, old, target);
  } else {
    clearMapping(memory, old);
  }
}

/** Ends the entries of frame `i`: their ptes as they stood, with `pfn`. */
function mapPlaces(memory: Memory, batch: MigrationBatch, i: number, pfn: Pfn): void {
  const end = batch.placeEnds[i] as number;
  const isAway = nodeOf(memory, pfn) !== nodeOf(memory, batch.olds[i] as Pfn);
  for (let place = firstPlace(batch, i); place < end; place++) {
    if (isAway) markMoved(memory, batch.slots[place] as Slot);
    const flags = (batch.ptes[place] as number) & PTE_FLAGS_MASK;
    // Counted before the pte can be seen: else it is unmapped below zero.
    getPage(memory, pfn);
    addMapping(memory, pfn);
    finishEntry(memory, batch.slots[place] as number, makePte(pfn, flags));
  }
}
