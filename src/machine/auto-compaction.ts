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

/** Frames that stay free on a node: one in so many of a block's. */
const RESERVE = 4;

export class AutoCompaction {
  readonly #memory: Memory;
  readonly #keeper: BlockKeeper;
  readonly #onReleased: (released: Released) => void;
  #timer: NodeJS.Timeout | undefined;
  #working = false;

  constructor(memory: Memory, keeper: BlockKeeper, onReleased: (released: Released) => void) {
    this.#memory = memory;
    this.#keeper = keeper;
    this.#onReleased = onReleased;
  }

  /** Looks from time to time while the policy is active; keeps no process alive. */
  follow(): void {
    clearInterval(this.#timer);
    if (!policyIsActive(this.#memory, "compact")) return;
    this.#timer = setInterval(() => void this.#look(), LOOK_MS).unref();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    if (this.#working) return;
    this.#working = true;
    try {
      const reserve = Math.ceil(this.#memory.blockLayout.frames / RESERVE);
      const released = await this.#keeper.compact(reserve, {});
      if (released.blocks > 0) this.#onReleased(released);
    } catch (error) {
      // A thread that does not let go, an engine that closes: the blocks are as before, and the next look tries again.
      if (!(error instanceof PagefoldError)) throw error;
    } finally {
      this.#working = false;
    }
  }
}
