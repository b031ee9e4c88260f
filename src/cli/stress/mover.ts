/**
 * mover - has frames of a stress moved for as long as it is let: the migrators follow policies by themselves, and
 * are asked again and again to move frames of merged pages with several sharers to a node at random.
 */
import type { Engine, Policy } from "../../index.js";
import { sharedFrames } from "../../machine/shared-frames.js";
import { Random } from "../random.js";

/** Frames that are asked for at a time: few, so that policies have their turns. */
const FRAMES = 64;

export class Mover {
  /** Frames of merged pages that were moved when asked for, and had several sharers when they were chosen. */
  shared = 0;
  readonly #engine: Engine;
  readonly #nodes: number;
  readonly #random: Random;
  #isMoving = false;
  #ended: Promise<void> = Promise.resolve();

  constructor(engine: Engine, nodes: number, seed: number) {
    this.#engine = engine;
    this.#nodes = nodes;
    this.#random = new Random(seed);
  }

  /** `onError` gets what no migration may reject with. */
  async start(policies: readonly Policy[], onError: (error: unknown) => void): Promise<void> {
    await this.#engine.setPolicies(policies);
    this.#isMoving = true;
    this.#ended = this.#move().catch(onError);
  }

  /** Resolves when nothing is under way any more. */
  async stop(): Promise<void> {
    this.#isMoving = false;
    await this.#ended;
    await this.#engine.setPolicies([]);
  }

  async #move(): Promise<void> {
    while (this.#isMoving) {
      const shared = sharedFrames(this.#engine.memory);
      const from = this.#random.below(shared.length);
      const pfns = shared.slice(from, from + FRAMES);
      const to = this.#random.below(this.#nodes);
      this.shared += (await this.#engine.migrate({ pfns, to })).succeeded;
      // What the vCPUs tell has its turn.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}
