/**
 * batch - a migrator's private record of what it is moving: frames, the ptes that map them, the guests
 * those belong to. Reused from batch to batch; nobody else sees it.
 */
import { SHOOTDOWN_ALL } from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type Gfn, type GuestId, NONE, type Pfn, type Slot } from "../base/units.js";

/** Frames that are moved with one shootdown of each guest. Their pages wait for it, so they are few. */
export const BATCH_FRAMES = 64;

/** Why a frame was moved, or was not. */
export const MIGRATED = 0;
/** Somebody holds it besides its ptes: a pin, or a look-up that is still at it. */
export const MIGRATE_PINNED = 1;
/** Its page lock is taken, or another migrator has it. */
export const MIGRATE_BUSY = 2;
/** The node has no free frame. */
export const MIGRATE_NO_FRAME = 3;
/** Free, or freed, remapped or copied meanwhile. */
export const MIGRATE_RACED = 4;
/** A vCPU of one of its guests reached no safepoint in time. */
export const MIGRATE_TIMEOUT = 5;
export type MigrateOutcome =
  | typeof MIGRATED
  | typeof MIGRATE_PINNED
  | typeof MIGRATE_BUSY
  | typeof MIGRATE_NO_FRAME
  | typeof MIGRATE_RACED
  | typeof MIGRATE_TIMEOUT;

/** By outcome: frames. */
export type Tally = Int32Array;
export const OUTCOMES = 6;

export interface MigrationBatch {
  /** Frames so far. */
  count: number;
  readonly olds: Int32Array;
  readonly targets: Int32Array;
  /** By frame: where its places end; they begin where those of the frame before end. */
  readonly placeEnds: Int32Array;
  /** By frame: MIGRATED for one that is frozen, or why it stays. */
  readonly outcomes: Uint8Array;
  /** Places: slots whose ptes are entries of ours, and the ptes that stood there. */
  readonly slots: Slot[];
  readonly ptes: number[];
  /** Guests that must forget translations, each once. */
  readonly guests: GuestId[];
  /** By guest: its shootdown's number. */
  readonly sequences: Int32Array;
  /** By guest: the one page, SHOOTDOWN_ALL for several, NONE for a guest that is not in the batch. */
  readonly pages: Int32Array;
  /** By guest: whether its shootdown was given up. */
  readonly stuck: Uint8Array;
  /** What the frames of the batch came to. */
  readonly tally: Tally;
}

export function createBatch(memory: Memory): MigrationBatch {
  const { guests } = memory.sizes;
  return {
    count: 0,
    olds: new Int32Array(BATCH_FRAMES),
    targets: new Int32Array(BATCH_FRAMES),
    placeEnds: new Int32Array(BATCH_FRAMES),
    outcomes: new Uint8Array(BATCH_FRAMES),
    slots: [],
    ptes: [],
    guests: [],
    sequences: new Int32Array(guests),
    pages: new Int32Array(guests).fill(NONE),
    stuck: new Uint8Array(guests),
    tally: new Int32Array(OUTCOMES),
  };
}

export function emptyBatch(batch: MigrationBatch): void {
  for (const guest of batch.guests) {
    batch.pages[guest] = NONE;
    batch.stuck[guest] = 0;
  }
  batch.count = 0;
  batch.slots.length = 0;
  batch.ptes.length = 0;
  batch.guests.length = 0;
  batch.tally.fill(0);
}

export function addFrame(batch: MigrationBatch, old: Pfn, target: Pfn): void {
  batch.olds[batch.count] = old;
  batch.targets[batch.count] = target;
  batch.count++;
}

/** Notes a pte that is an entry of ours now, and that its guest must forget the page. */
export function addPlace(
  batch: MigrationBatch,
  guest: GuestId,
  gfn: Gfn,
  slot: Slot,
  pte: number,
): void {
  batch.slots.push(slot);
  batch.ptes.push(pte);
  const page = batch.pages[guest];
  if (page === NONE) batch.guests.push(guest);
  batch.pages[guest] = page === NONE || page === gfn ? gfn : SHOOTDOWN_ALL;
}

/** Where the places of frame `i` begin. */
export function firstPlace(batch: MigrationBatch, i: number): number {
  return i === 0 ? 0 : (batch.placeEnds[i - 1] as number);
}
