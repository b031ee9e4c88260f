/**
 * world - what the micro benchmarks work on: beside the rig's own guest (pages unlike each other, in two
 * blocks) guests whose every word is PATTERN, so that storing PATTERN anywhere leaves them as they were.
 */
import type { Memory } from "../../dist/base/memory.js";
import type { Engine, EngineGuest, Vcpu } from "../../dist/index.js";
import { framesOf, withFrames, withMemory } from "../frames.js";
import { PAGE } from "../mix.js";
import type { Rig } from "../rig.js";

export const PATTERN = 0x5a5a5a5a;
const PATTERN_BYTE = 0x5a;

export interface World {
  readonly engine: Engine;
  readonly memory: Memory;
  /** Frames of the rig's guest: all in use, all different; the first and the last lie in different blocks. */
  readonly image: Int32Array;
  /** Frames of nobody. */
  readonly spare: Int32Array;
  /** A guest of pages that nobody merges, and this thread's vCPU of it. */
  readonly plain: EngineGuest;
  readonly vcpu: Vcpu;
  /** A guest whose pages are merged by `mergeAll`, and its vCPU. */
  readonly merged: EngineGuest;
  readonly mergedVcpu: Vcpu;
  /** Pages of each of these guests. */
  readonly pages: number;
  /** Merges everything that can be merged; frames that are left over have been used before. */
  mergeAll(): Promise<void>;
  /** A guest of `pages` pages without a frame. */
  emptyGuest(): EngineGuest;
}

export async function withWorld<T>(
  { engine, guest }: Rig,
  pages: number,
  problems: string[],
  body: (world: World) => Promise<T>,
): Promise<T> {
  const mergeAll = async (): Promise<void> => {
    await engine.ksm.set({ run: 1, pagesToScan: 0 });
    await engine.ksm.scan(2);
    await engine.ksm.set({ run: 0 });
  };
  const plain = engine.createGuest({ bytes: pages * PAGE, mergeable: false });
  const merged = engine.createGuest({ bytes: pages * PAGE });
  const empty: EngineGuest[] = [];
  for (const each of [plain, merged]) each.fill(0, each.bytes, PATTERN_BYTE);
  return withMemory(engine.handle, (memory) =>
    withFrames(memory, plain.id, BATCH, async (spare) => {
      const value = await body({
        ...{ engine, memory, spare, plain, merged, pages, mergeAll },
        image: framesOf(memory, guest.id),
        vcpu: plain.vcpu(),
        mergedVcpu: merged.vcpu(),
        emptyGuest() {
          const fresh = engine.createGuest({ bytes: pages * PAGE });
          empty.push(fresh);
          return fresh;
        },
      });
      for (const each of [plain, merged]) problems.push(...patternProblems(each, PAGE / 4));
      for (const each of empty) problems.push(...patternProblems(each, 1));
      return value;
    }),
  );
}

/** Frames to spare: as many pages as ksmd hashes at a time. */
const BATCH = 256;

/** Every page holds PATTERN in its first `words` words, and zeros behind them. */
function patternProblems(guest: EngineGuest, words: number): string[] {
  const expected = new Int32Array(PAGE / 4).fill(PATTERN, 0, words);
  const found = new Uint8Array(PAGE);
  for (let at = 0; at < guest.bytes; at += PAGE) {
    guest.read(at, found);
    if (Buffer.compare(found, new Uint8Array(expected.buffer)) !== 0) {
      return [`page ${at / PAGE} of ${guest.name} is not as it was written`];
    }
  }
  return [];
}
