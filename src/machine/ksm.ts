/**
 * ksm - ksmd, as an engine's owner speaks to it.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import { type Counters, readCounters } from "../ksm/counters.js";
import { givenKnobs, type Knobs, readKnobs } from "../ksm/knobs.js";
import type { CallOptions } from "./channel.js";
import type { Crew } from "./crew.js";

/** ksmd, as an engine's owner speaks to it: the kernel's knobs, and full passes on request. */
export class Ksm {
  readonly #memory: Memory;
  readonly #crew: () => Crew;

  /** @internal */
  constructor(memory: Memory, crew: () => Crew) {
    this.#memory = memory;
    this.#crew = crew;
  }

  /** The knobs' values at this moment. */
  get knobs(): Knobs {
    return readKnobs(this.#memory);
  }

  /**
   * Sets knobs, between two batches; those not given stay. EINVAL: unknown or out of range. EBUSY: maxPageSharing
   * or mergeAcrossNodes while pages are merged and run is not set to 2. ENOMEM: run 2 needs more frames than are
   * free; PAGEFOLD_VCPU_STUCK: it waited in vain for a vCPU; EBUSY: for a migrator; run is 0 after any of these, and
   * the call may be repeated.
   * A rejected call has changed nothing else.
   */
  async set(knobs: Partial<Knobs>, options?: CallOptions): Promise<void> {
    await this.#crew().command({ kind: "set", knobs: givenKnobs(knobs) }, options);
  }

  /**
   * Does `passes` full passes without sleeping, and resolves with the counters at the end of the last; a pass that
   * is under way is finished first and does not count. Equal pages that nobody writes are merged after two.
   * Rejects with PAGEFOLD_NOT_RUNNING unless run is 1, with EINVAL if `passes` is no positive integer.
   */
  async scan(passes = 1, options?: CallOptions): Promise<Counters> {
    checkPasses(passes);
    // As they were at the boundary: ksmd goes on, and may be anywhere by now.
    return (await this.#crew().request({ kind: "scan", passes }, options)) as Counters;
  }

  /** The same in this call, for an engine without workers; PAGEFOLD_HAS_WORKERS for one with. */
  scanSync(passes = 1): Counters {
    checkPasses(passes);
    this.#crew().requestSync({ kind: "scan", passes });
    return readCounters(this.#memory);
  }
}

function checkPasses(passes: number): void {
  if (Number.isInteger(passes) && passes > 0) return;
  throw new PagefoldError("EINVAL", `scan takes a positive number of passes, not ${passes}`, {
    passes,
  });
}
