/** The warm-up of ksmd: whom it is for, and that it keeps to a machine of its own. */
import { describe, expect, it } from "vitest";
import { createMemoryHandle } from "../../src/base/memory.js";
import { resolveKernels } from "../../src/kernels/options.js";
import type { EngineHandle } from "../../src/machine/handle.js";
import { prepareWarmUp, type WarmUp } from "../../src/machine/warm-up.js";

/** An engine of so many blocks of 64 MiB / 4. */
function createHandle(blocks: number): EngineHandle {
  const sizes = {
    framesPerBlockShift: 12,
    ...{ blocks, nodes: 1, shards: 1, threads: 2, guests: 2, vcpus: 2 },
    slots: 1024,
    stableNodes: 1024,
  };
  const patience = { polls: 1, scanMs: 20, faultMs: 20 };
  const blockNodes = Array.from({ length: blocks }, () => 0);
  return {
    memory: createMemoryHandle(sizes, patience, blockNodes),
    kernels: resolveKernels({ kernels: "typescript", hash: "xxh3-64" }),
    channel: "nobody listens",
  };
}

function stepsOf(warmUp: WarmUp | null): number {
  let steps = 0;
  while (warmUp?.next().done === false) steps++;
  return steps;
}

describe("the warm-up", () => {
  it("is not for an engine of less than 64 MiB", async () => {
    expect(await prepareWarmUp(createHandle(3))).toBeNull();
  });

  it("goes by many steps, ends, and leaves the engine's own memory alone", async () => {
    const handle = createHandle(4);
    expect(stepsOf(await prepareWarmUp(handle))).toBeGreaterThan(500);
    const { control, blocks } = handle.memory;
    for (const { buffer } of [control, ...blocks.map(({ memory }) => memory)]) {
      expect(new Uint8Array(buffer).every((byte) => byte === 0)).toBe(true);
    }
  });
});
