/**
 * auto-compaction - the policy "compact": blocks that the others have room for are taken away, whenever there are some.
 *
 * Looking costs a few words a block, so the owner's thread does it from time to time; the migrators do the work.
 * A part of a block stays free on each node, so that the next writes do not ask for what was just given back.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import { policyIsActive } from "../migrate/policies/policy.js";
import type { BlockKeeper, Released } from "./block-keeper.js";

const LOOK_MS = 500;
/** Where blocks could not be emptied, it looks less and less often, down to this. */
const LOOK_MAX_MS = 16_000;

/** Frames that stay free on a node: one in so many of a block's. */
const RESERVE = 4;

export class AutoCompaction {
  readonly #memory: Memory;
  readonly #keeper: BlockKeeper;
  readonly #onReleased: (released: Released) => void;
  #timer: NodeJS.Timeout | undefined;
  #lookMs = LOOK_MS;
  #look: Promise<void> = Promise.resolve();

  constructor(memory: Memory, keeper: BlockKeeper, onReleased: (released: Released) => void) {
    this.#memory = memory;
    this.#keeper = keeper;
    this.#onReleased = onReleased;
  }

  /** Looks from time to time while the policy is active. If it is not, resolves when the last look has ended. */
  async follow(): Promise<void> {
    if (!policyIsActive(this.#memory, "compact")) {
      this.stop();
      await this.#look;
    } else if (this.#timer === undefined) {
      this.#lookMs = LOOK_MS;
      this.#wait();
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Keeps no process alive. */
  #wait(): void {
    const timer = setTimeout(() => {
      this.#look = this.#lookOnce().finally(() => {
        if (this.#timer === timer) this.#wait();
      });
    }, this.#lookMs);
    this.#timer = timer.unref();
  }

  async #lookOnce(): Promise<void> {
    const reserve = Math.ceil(this.#memory.blockLayout.frames / RESERVE);
    let failed = false;
    try {
      const { stayed, ...released } = await this.#keeper.compact(reserve, {});
      failed = stayed > 0;
      if (released.blocks > 0) this.#onReleased(released);
    } catch (error) {
      // A thread that does not let go, an engine that closes: the blocks are as before, and a later look tries again.
      if (!(error instanceof PagefoldError)) throw error;
      failed = true;
    }
    this.#lookMs = failed ? Math.min(2 * this.#lookMs, LOOK_MAX_MS) : LOOK_MS;
  }
}
