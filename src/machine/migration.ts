/**
 * migration - what the owner of an engine asks of migrators, and what came of it.
 */
import { PagefoldError } from "../base/errors.js";
import { PTE_NONE, ptePfn } from "../base/layout.js";
import { type Memory, nodeOf } from "../base/memory.js";
import type { GuestId, Nid, Pfn } from "../base/units.js";
import {
  BATCH_FRAMES,
  createBatch,
  MIGRATE_BUSY,
  MIGRATE_NO_FRAME,
  MIGRATE_PINNED,
  MIGRATE_RACED,
  MIGRATE_TIMEOUT,
  MIGRATED,
  type MigrationBatch,
  OUTCOMES,
  type Tally,
} from "../migrate/batch.js";
import { evacuateRound } from "../migrate/evacuate.js";
import { migrateFrames } from "../migrate/migrate.js";
import { guestBase, guestPages } from "../mm/guest.js";
import { pteIsPresent, readPte } from "../mm/pte.js";

/** What a migration came to, in frames. */
export interface MigrationResult {
  /** Frames that lie on the node now. */
  readonly succeeded: number;
  /** Frames that do not. */
  readonly failed: MigrationFailures;
}

/** Frames that stayed where they were, exactly as they were, by reason. */
export interface MigrationFailures {
  /** Held besides by its ptes: by a pin, or by a thread that was looking at it. */
  readonly pinned: number;
  /** Locked by ksmd, or in the hands of another migrator. */
  readonly busy: number;
  /** The node had no free frame. */
  readonly no_frame: number;
  /** Free, no frame at all, or freed, copied or remapped at that moment. */
  readonly raced: number;
  /** A vCPU of one of its guests reached no safepoint within `scanTimeout`. */
  readonly timeout: number;
}

/** Frames that are moved in one go: between slices a thread has time for other things. */
const SLICE_FRAMES = 16 * BATCH_FRAMES;

/** Frames of the guest's pages that lie on other nodes than `to`, each once. */
export function framesElsewhere(memory: Memory, guest: GuestId, to: Nid): Pfn[] {
  const pfns = new Set<Pfn>();
  const base = guestBase(memory, guest);
  for (let slot = base; slot < base + guestPages(memory, guest); slot++) {
    const pte = readPte(memory, slot);
    if (pte === PTE_NONE || !pteIsPresent(pte)) continue;
    if (nodeOf(memory, ptePfn(pte)) !== to) pfns.add(ptePfn(pte));
  }
  return [...pfns];
}

/** Moves frames for one thread. */
export class Migrator {
  readonly #memory: Memory;
  readonly #batch: MigrationBatch;

  constructor(memory: Memory) {
    this.#memory = memory;
    this.#batch = createBatch(memory);
  }

  /** Moves the frames to node `to`; how many came to what. */
  migrateSlice(pfns: readonly Pfn[], to: Nid): Tally {
    this.#checkOutside();
    const tally: Tally = new Int32Array(OUTCOMES);
    migrateFrames(this.#memory, pfns, to, this.#batch, tally);
    return tally;
  }

  /** A round of emptying a block that goes offline. */
  evacuate(block: number): EvacuationRound {
    this.#checkOutside();
    const tally: Tally = new Int32Array(OUTCOMES);
    const isolated = evacuateRound(this.#memory, block, this.#batch, tally);
    return { isolated, result: resultOf(tally) };
  }

  #checkOutside(): void {
    if (!this.#memory.guestMode.inside) return;
    throw new PagefoldError(
      "PAGEFOLD_IN_SECTION",
      "frames cannot be moved from inside a run section; end it first",
    );
  }
}

/** What a round of emptying a block came to. */
export interface EvacuationRound {
  /** Frames of the block that are isolated by now. */
  readonly isolated: number;
  readonly result: MigrationResult;
}

/** Moves a slice of frames. */
export type Hand = (slice: readonly Pfn[]) => Promise<Tally>;

/** A migrator of this very thread. `check` throws when no more is to be done. */
export function handOf(migrator: Migrator, to: Nid, check: () => void): Hand {
  return async (slice) => {
    check();
    const tally = migrator.migrateSlice(slice, to);
    await new Promise((resolve) => setImmediate(resolve));
    return tally;
  };
}

/** Has all frames moved: each hand takes a slice, and the next when it has done that. */
export async function migrateAll(
  pfns: readonly Pfn[],
  hands: readonly Hand[],
): Promise<MigrationResult> {
  const total: Tally = new Int32Array(OUTCOMES);
  let next = 0;
  const work = async (hand: Hand): Promise<void> => {
    while (next < pfns.length) {
      const slice = pfns.slice(next, next + SLICE_FRAMES);
      next += SLICE_FRAMES;
      const tally = await hand(slice);
      tally.forEach((frames, outcome) => {
        total[outcome] += frames;
      });
    }
  };
  try {
    await Promise.all(hands.map(work));
  } finally {
    // One hand has failed: the others take nothing more.
    next = pfns.length;
  }
  return resultOf(total);
}

/** What all frames of `tally` came to. */
export function resultOf(tally: ArrayLike<number>): MigrationResult {
  return {
    succeeded: tally[MIGRATED] as number,
    failed: {
      pinned: tally[MIGRATE_PINNED] as number,
      busy: tally[MIGRATE_BUSY] as number,
      no_frame: tally[MIGRATE_NO_FRAME] as number,
      raced: tally[MIGRATE_RACED] as number,
      timeout: tally[MIGRATE_TIMEOUT] as number,
    },
  };
}
