/**
 * steps - what a plan has done to the machine, while vCPUs work.
 */
import { PAGE_SIZE } from "../../base/units.js";
import type { BlockStats, Engine, EngineGuest } from "../../index.js";
import type { Step } from "./plan.js";

/**
 * What an unmerge may be refused with while guests run, and migrators move a page again and again; it may be repeated
 * then.
 */
const UNMERGE_REFUSALS: readonly string[] = ["EBUSY", "ENOMEM", "PAGEFOLD_VCPU_STUCK"];
/**
 * What a change of blocks may be refused with: a pin, a busy machine, guests that have taken the room, and the policy
 * compact, which has taken the block away already.
 */
const BLOCK_REFUSALS: readonly string[] = [
  "PAGEFOLD_BAD_OPTION",
  "PAGEFOLD_BLOCK_BUSY",
  "PAGEFOLD_THREAD_STUCK",
  "PAGEFOLD_NO_ROOM",
];
/** More of them in a row are no accident. */
const TRIES = 100;

export interface StepCounts {
  knob_switches: number;
  unmerges: { everything: number; regions: number; refused: number };
  /** Blocks that did not go, or come. */
  blocks_refused: number;
}

export class Stepper {
  readonly counts: StepCounts = {
    knob_switches: 0,
    unmerges: { everything: 0, regions: 0, refused: 0 },
    blocks_refused: 0,
  };
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** What the step is called in the log. */
  static nameOf(step: Step): string {
    const { kind, ...values } = step;
    return [kind, ...Object.entries(values).map(([key, value]) => `${key}=${value}`)].join(" ");
  }

  async do(step: Step): Promise<void> {
    const { counts } = this;
    const { ksm } = this.#engine;
    switch (step.kind) {
      case "limit":
      case "across": {
        const { kind: _, ...knobs } = step;
        await this.#insist(() => ksm.set({ run: 2, ...knobs }));
        await ksm.set({ run: 1 });
        counts.knob_switches++;
        break;
      }
      case "pace":
        await ksm.set({ pagesToScan: step.pagesToScan, sleepMillisecs: step.sleepMillisecs });
        counts.knob_switches++;
        break;
      case "unmerge":
        await this.#insist(() => ksm.set({ run: 2 }));
        await ksm.set({ run: 1 });
        counts.unmerges.everything++;
        break;
      case "region": {
        const guest = this.#engine.guests[step.guest] as EngineGuest;
        const [address, length] = [step.from * PAGE_SIZE, (step.to - step.from) * PAGE_SIZE];
        await this.#insist(() => guest.unmergeable(address, length));
        await guest.mergeable(address, length);
        counts.unmerges.regions++;
        break;
      }
      case "block":
        await this.#unlessRefused(() => this.#replaceBlock(step.pick));
        break;
      case "compact":
        await this.#unlessRefused(() => this.#engine.compact());
    }
  }

  async #replaceBlock(pick: number): Promise<void> {
    const blocks = this.#engine.blocks().filter(({ state }) => state === "online");
    const { block, node } = blocks[pick % blocks.length] as BlockStats;
    await this.#engine.offlineBlock(block);
    await this.#engine.addBlock(node);
  }

  async #unlessRefused(attempt: () => Promise<unknown>): Promise<void> {
    try {
      await attempt();
    } catch (error) {
      if (!BLOCK_REFUSALS.includes(codeOf(error))) throw error;
      this.counts.blocks_refused++;
    }
  }

  /** Repeats what is refused only for the moment. */
  async #insist(attempt: () => Promise<void>): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await attempt();
        return;
      } catch (error) {
        if (tries === TRIES || !UNMERGE_REFUSALS.includes(codeOf(error))) throw error;
        this.counts.unmerges.refused++;
      }
    }
  }
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "";
}
