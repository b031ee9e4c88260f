/**
 * control - knob writes as ksmd executes them, between batches: all or nothing.
 *
 * LINUX   run_store, max_page_sharing_store and their neighbours.
 */
import { PagefoldError } from "../base/errors.js";
import { SHARD_PAGES_SHARED } from "../base/layout.js";
import { PAGE_SIZE } from "../base/units.js";
import { drainAllLimbo } from "../mm/limbo.js";
import {
  givenKnobs,
  type Knobs,
  RUN_MERGE,
  RUN_STOP,
  RUN_UNMERGE,
  readKnobs,
  writeKnobs,
} from "./knobs.js";
import { replantItems, unmergeEverything } from "./lifecycle.js";
import { type Shard, shardWord } from "./shard.js";
import { UNMERGE_BUSY, UNMERGE_NO_FRAME, UNMERGED, type UnmergeOutcome } from "./unmerge.js";

/**
 * Sets knobs. A value out of range is EINVAL, max_page_sharing or merge_across_nodes while pages are merged EBUSY;
 * both change nothing (H41). run = 2 unmerges first, so that what is set with it is free to change; writing 2 again
 * does nothing. If it fails, run is 0 and the call may be repeated.
 */
export function setKnobs(shard: Shard, wanted: Partial<Knobs>): void {
  const { memory } = shard;
  const knobs = givenKnobs(wanted);
  const before = readKnobs(memory);
  const unmerge = knobs.run === RUN_UNMERGE && before.run !== RUN_UNMERGE;
  const limited = (knobs.maxPageSharing ?? before.maxPageSharing) !== before.maxPageSharing;
  const across = (knobs.mergeAcrossNodes ?? before.mergeAcrossNodes) !== before.mergeAcrossNodes;
  if (!unmerge && limited) expectNothingShared(shard, "max_page_sharing");
  if (!unmerge && across) expectNothingShared(shard, "merge_across_nodes");
  if (unmerge) {
    const outcome = unmergeEverything(shard);
    if (outcome !== UNMERGED) {
      writeKnobs(memory, { run: RUN_STOP });
      throw unmergeError(outcome);
    }
  }
  writeKnobs(memory, knobs);
  if (across) replantItems(shard);
  // Idle, nobody else would free what merging left in limbo.
  if (readKnobs(memory).run !== RUN_MERGE) drainAllLimbo(memory, memory.patience.scanMs);
}

function expectNothingShared(shard: Shard, knob: string): void {
  const shared = shardWord(shard, SHARD_PAGES_SHARED);
  if (shared === 0) return;
  throw new PagefoldError(
    "EBUSY",
    `${knob} cannot change while ${shared} frames are shared; set run to 2 first`,
    { knob, pages_shared: shared },
  );
}

/** What the caller of a failed unmerge is told. */
export function unmergeError(outcome: UnmergeOutcome): PagefoldError {
  if (outcome === UNMERGE_NO_FRAME) {
    return new PagefoldError(
      "ENOMEM",
      `unmerging ran out of ${PAGE_SIZE}-byte frames; what was unmerged stays so. ` +
        "Give the engine more memoryPerNode, and repeat the call",
    );
  }
  if (outcome === UNMERGE_BUSY) {
    return new PagefoldError(
      "EBUSY",
      "pages are unmerged, but migrators move a frame of theirs again and again; repeat the call",
    );
  }
  return new PagefoldError(
    "PAGEFOLD_VCPU_STUCK",
    "unmerging gave up: a vCPU reached no safepoint in time; call poll() in its loops, and repeat the call",
  );
}
