/**
 * mover - has frames of a stress moved for as long as it is let: the migrators follow policies by themselves, and
 * are asked again and again to move frames of merged pages with several sharers to a node at random.
 */
import { MAPPING_TAG_KSM, mappingTag } from "../../base/layout.js";
import { framesEnd, isFrame, type Memory } from "../../base/memory.js";
import type { Pfn } from "../../base/units.js";
import type { Engine, Policy } from "../../index.js";
import { readMapping } from "../../mm/page-mapping.js";
import { mapcount } from "../../mm/page-ref.js";
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

/** Frames of merged pages that have several sharers at this moment. */
function sharedFrames(memory: Memory): Pfn[] {
  const pfns: Pfn[] = [];
  for (let pfn = 0; pfn < framesEnd(memory); pfn++) {
    if (!isFrame(memory, pfn)) continue;
    const isKsm = mappingTag(readMapping(memory, pfn)) === MAPPING_TAG_KSM;
    if (isKsm && mapcount(memory, pfn) > 1) pfns.push(pfn);
  }
  return pfns;
}
