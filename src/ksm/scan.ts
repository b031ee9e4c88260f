/**
 * scan - ksmd's passes: harvest every guest, then visit what changed.
 *
 * A pass takes two phases: all guests are harvested, then the pages that have something to do are visited
 * in order of guest and address. A page is first seen in one pass and merged in the next, as in the kernel,
 * so after two passes over a static fill the counters are the kernel's, to the page. But what has not been
 * written costs nothing more than a bit in the third: it is never hashed again, and candidates do not expire.
 *
 * A pass is done in batches; each visits at most `budget` pages (the kernel's pages_to_scan) and none crosses
 * the end of a pass. Guests created during a pass wait for the next (H72). Pages that met a lock or a
 * passing reference are tried again at the end of the pass.
 *
 *       IDLE ---> HARVEST ---> VISIT round 0 ---> VISIT round 1 .. 3 (only if pages were busy) ---> IDLE
 */
import { plainLoad } from "../base/atomics.js";
import { popcount } from "../base/bits.js";
import {
  SCAN_HARVEST,
  SCAN_IDLE,
  SCAN_VISIT,
  SHARD_ACTIVITY,
  SHARD_FULL_SCANS,
  SHARD_GFN,
  SHARD_GUEST,
  SHARD_GUEST_END,
  SHARD_PHASE,
  SHARD_QUIET_AT,
  SHARD_RETRIES,
  SHARD_REWRITTEN,
  SHARD_ROUND,
  SHARD_SETTLED_AT,
  WIDE_PAGES_SCANNED,
} from "../base/layout.js";
import type { GuestId } from "../base/units.js";
import { guestBase, guestCount, guestIsLive, guestPages } from "../mm/guest.js";
import { drainAllLimbo } from "../mm/limbo.js";
import { harvestGuest } from "./harvest.js";
import {
  addShardWord,
  addWide,
  noteActivity,
  type Shard,
  setShardWord,
  shardWord,
} from "./shard.js";
import { pruneList } from "./sharers.js";
import { finishBatch, visitPage } from "./visit.js";

/** What a batch came to. */
export const SCAN_MORE = 0;
export const SCAN_PASS_ENDED = 1;
/** There is no guest to scan. */
const SCAN_NOTHING = 2;
export type ScanOutcome = typeof SCAN_MORE | typeof SCAN_PASS_ENDED | typeof SCAN_NOTHING;

/** Pages that met a lock or a passing reference are tried this often more within the pass. */
const ROUNDS_MAX = 3;

/** One wake-up of ksmd: visits up to `budget` pages. Harvesting costs nanoseconds a page and is not counted. */
export function scanBatch(shard: Shard, budget: number): ScanOutcome {
  if (budget === 0) return SCAN_MORE;
  if (shardWord(shard, SHARD_PHASE) === SCAN_IDLE && !beginPass(shard)) return SCAN_NOTHING;
  while (shardWord(shard, SHARD_PHASE) === SCAN_HARVEST) harvestNext(shard);
  visitStep(shard, budget);
  if (shardWord(shard, SHARD_GUEST) < shardWord(shard, SHARD_GUEST_END)) return SCAN_MORE;
  if (shardWord(shard, SHARD_RETRIES) > 0 && shardWord(shard, SHARD_ROUND) < ROUNDS_MAX) {
    beginRound(shard, shardWord(shard, SHARD_ROUND) + 1);
    return SCAN_MORE;
  }
  endPass(shard);
  return SCAN_PASS_ENDED;
}

function beginPass(shard: Shard): boolean {
  const { memory } = shard;
  const guests = guestCount(memory);
  let live = 0;
  for (let guest = 0; guest < guests; guest++) live += guestIsLive(memory, guest) ? 1 : 0;
  if (live === 0) return false;
  setShardWord(shard, SHARD_PHASE, SCAN_HARVEST);
  setShardWord(shard, SHARD_GUEST, 0);
  setShardWord(shard, SHARD_GUEST_END, guests);
  setShardWord(shard, SHARD_ACTIVITY, 0);
  setShardWord(shard, SHARD_REWRITTEN, 0);
  return true;
}

function harvestNext(shard: Shard): void {
  const guest = shardWord(shard, SHARD_GUEST);
  // A guest that is left out may have anything in it: the pass is not a settled one.
  if (guestIsLive(shard.memory, guest) && !harvestGuest(shard, guest)) noteActivity(shard);
  setShardWord(shard, SHARD_GUEST, guest + 1);
  if (guest + 1 < shardWord(shard, SHARD_GUEST_END)) return;
  setShardWord(shard, SHARD_PHASE, SCAN_VISIT);
  beginRound(shard, 0);
}

function beginRound(shard: Shard, round: number): void {
  setShardWord(shard, SHARD_ROUND, round);
  setShardWord(shard, SHARD_RETRIES, 0);
  setShardWord(shard, SHARD_GUEST, 0);
  setShardWord(shard, SHARD_GFN, 0);
}

function endPass(shard: Shard): void {
  pruneList(shard);
  drainAllLimbo(shard.memory, shard.memory.patience.scanMs);
  addShardWord(shard, SHARD_FULL_SCANS, 1);
  const passes = shardWord(shard, SHARD_FULL_SCANS);
  const quiet = shardWord(shard, SHARD_ACTIVITY) === 0;
  if (quiet) setShardWord(shard, SHARD_QUIET_AT, passes);
  if (quiet && shardWord(shard, SHARD_REWRITTEN) === 0)
    setShardWord(shard, SHARD_SETTLED_AT, passes);
  setShardWord(shard, SHARD_PHASE, SCAN_IDLE);
}

/** Visits up to `budget` pages from the cursor on. */
function visitStep(shard: Shard, budget: number): void {
  const { memory } = shard;
  const end = shardWord(shard, SHARD_GUEST_END);
  let left = budget;
  let guest = shardWord(shard, SHARD_GUEST);
  while (left > 0 && guest < end) {
    left = guestIsLive(memory, guest) ? visitGuest(shard, guest, left) : left;
    if (left > 0) {
      guest++;
      setShardWord(shard, SHARD_GUEST, guest);
      setShardWord(shard, SHARD_GFN, 0);
    }
  }
}

/** Visits pages of one guest; returns what is left of the budget, 0 also when it ends with the guest. */
function visitGuest(shard: Shard, guest: GuestId, budget: number): number {
  const { memory } = shard;
  const { control, layout } = memory;
  const base = guestBase(memory, guest);
  const pages = guestPages(memory, guest);
  const again = shardWord(shard, SHARD_ROUND) > 0;
  let left = budget;
  let batched = 0;
  let gfn = shardWord(shard, SHARD_GFN);
  while (left > 0 && gfn < pages) {
    const word = (base + gfn) >>> 5;
    const from = -1 << (gfn & 31);
    const present = plainLoad(control, layout.visit + word) & from;
    const pending = present & plainLoad(control, layout.pending + word);
    // A round of retries looks only at what was quiet and is still pending.
    const bits = again ? pending & ~plainLoad(control, layout.hot + word) : present;
    if ((bits & pending) !== 0 || popcount(bits) > left) {
      // One page, then the word again from the next bit on: visiting one changes the bits of others.
      const bit = bits === 0 ? 31 : 31 - Math.clz32(bits & -bits);
      if ((pending & (1 << bit)) !== 0) batched = visitPage(shard, (word << 5) + bit, batched);
      gfn += bit - (gfn & 31) + 1;
      left--;
    } else {
      gfn += 32 - (gfn & 31);
      left -= popcount(bits);
    }
  }
  if (!again) addWide(shard, WIDE_PAGES_SCANNED, budget - left);
  finishBatch(shard, batched);
  setShardWord(shard, SHARD_GFN, gfn);
  return gfn < pages ? 0 : left;
}
