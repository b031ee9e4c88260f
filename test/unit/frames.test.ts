/** Frames that run out: what is in limbo comes first, what is refused has changed nothing. */
import { describe, expect, it } from "vitest";
import { GUEST_LIMBO } from "../../src/base/layout.js";
import type { Memory } from "../../src/base/memory.js";
import { NONE } from "../../src/base/units.js";
import { createEngine, type Engine, type EngineOptions } from "../../src/index.js";
import { scanBatch } from "../../src/ksm/scan.js";
import { createShard } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { allocFrame, frameIsFree, freeFrames, putPage } from "../../src/mm/frames.js";
import { guestWord } from "../../src/mm/guest.js";
import { BLOCK, codeOf, PAGE, pageOf, pfnsOf, viewOf } from "./view.js";

const FRAMES = BLOCK / PAGE;

async function start(options: EngineOptions = {}): Promise<{ engine: Engine; view: Memory }> {
  const engine = await createEngine({
    ...{ workers: false, memoryPerNode: BLOCK, blockBytes: BLOCK, maxGuestBytes: 2 ** 20 },
    ksm: { run: 1 },
    ...options,
  });
  return { engine, view: await viewOf(engine) };
}

function takeAll(view: Memory, node: number): number[] {
  const taken: number[] = [];
  for (let pfn = allocFrame(view, node, 0, 0); pfn !== NONE; pfn = allocFrame(view, node, 0, 0)) {
    taken.push(pfn);
  }
  return taken;
}

describe("the frame allocator", () => {
  it("gives every frame once, those of the node first, in address order", async () => {
    const { engine, view } = await start({ nodes: 3, memoryPerNode: 2 * BLOCK });
    const taken = takeAll(view, 1);
    const order = (blocks: number[]) =>
      blocks.flatMap((block) => Array.from({ length: FRAMES }, (_, i) => block * FRAMES + i));
    expect(taken).toEqual(order([2, 3, 0, 1, 4, 5]));
    expect(engine.stats().frames).toEqual({ total: 6 * FRAMES, used: 6 * FRAMES, free: 0 });
    expect(engine.stats().nodes.map(({ free }) => free)).toEqual([0, 0, 0]);
    for (const pfn of [5, 40, 95]) putPage(view, pfn);
    expect([frameIsFree(view, 40), frameIsFree(view, 41)]).toEqual([true, false]);
    expect(engine.stats().nodes.map(({ free }) => free)).toEqual([1, 1, 1]);
    expect(takeAll(view, 2)).toEqual([95, 5, 40]);
    for (const pfn of taken) putPage(view, pfn);
    expect(freeFrames(view, NONE)).toBe(6 * FRAMES);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("takes frames of other nodes when the guest's own has none", async () => {
    const { engine, view } = await start({ nodes: 2 });
    const guest = engine.createGuest({ bytes: 2 * BLOCK, node: 1 });
    guest.fill(0, guest.bytes, 1);
    expect(pfnsOf(view, engine).map((pfn) => Math.floor(pfn / FRAMES))).toEqual([
      ...Array(FRAMES).fill(1),
      ...Array(FRAMES).fill(0),
    ]);
    await engine.close();
  });
});

describe("limbo", () => {
  it("is drained before a guest is told that there is no frame", async () => {
    const { engine, view } = await start();
    const guest = engine.createGuest({ bytes: 4 * BLOCK });
    guest.fill(0, BLOCK, 7);
    const shard = createShard(view, 0);
    while (scanBatch(shard, 8192) === 0);
    // Half of the second pass: what it merged is in limbo until a shootdown.
    scanBatch(shard, FRAMES / 2);
    const head = () => view.control[guestWord(view, guest.id) + GUEST_LIMBO];
    expect([head() !== 0, freeFrames(view, NONE)]).toEqual([true, 0]);
    for (let page = 0; page < FRAMES / 2 - 1; page++)
      guest.write(BLOCK + page * PAGE, pageOf(page));
    expect([head(), freeFrames(view, NONE)]).toEqual([0, 0]);
    expect(codeOf(() => guest.write(2 * BLOCK, pageOf(1)))).toBe("PAGEFOLD_NO_FRAME");
    expect(codeOf(() => guest.write(0, pageOf(1)))).toBe("PAGEFOLD_NO_FRAME");
    while (scanBatch(shard, 8192) === 0);
    // The other half merged too.
    expect(freeFrames(view, NONE)).toBe(FRAMES / 2);
    guest.write(0, pageOf(100));
    expect(checkMachine(shard).problems).toEqual([]);
    for (let page = 0; page < FRAMES; page++) {
      const expected = page === 0 ? pageOf(100) : new Uint8Array(PAGE).fill(7);
      expect(Buffer.compare(guest.read(page * PAGE, PAGE), expected)).toBe(0);
    }
    await engine.close();
  });
});

describe("no frame", () => {
  it("says how many there are, and leaves every page and count as it was", async () => {
    const { engine, view } = await start();
    const guest = engine.createGuest({ bytes: 2 * BLOCK });
    for (let gfn = 0; gfn < FRAMES; gfn++) guest.write(gfn * PAGE, pageOf(gfn >>> 1));
    const before = pfnsOf(view, engine);
    const error = expect.objectContaining({
      code: "PAGEFOLD_NO_FRAME",
      message: expect.stringMatching(/^all 16 frames .*memoryPerNode/),
      details: { guest: 0, frames: FRAMES, bytes: BLOCK },
    });
    expect(() => guest.write(BLOCK, Uint8Array.of(1))).toThrow(error);
    expect(() => guest.pin(BLOCK - PAGE, 2 * PAGE)).toThrow(error);
    expect(pfnsOf(view, engine)).toEqual(before);
    expect((await engine.check()).problems).toEqual([]);

    engine.ksm.scanSync(2);
    const taken = takeAll(view, 0);
    expect(taken).toHaveLength(FRAMES / 2);
    const merged = pfnsOf(view, engine);
    // A copy of a merged page needs a frame too, in unmerging as in writing.
    for (const call of [() => guest.write(1, Uint8Array.of(1)), () => guest.fill(0, 5, 1)]) {
      expect(call).toThrow(error);
    }
    const { counters } = engine.stats();
    await expect(engine.ksm.set({ run: 2 })).rejects.toThrow(
      expect.objectContaining({ code: "ENOMEM" }),
    );
    await expect(guest.unmergeable(0, PAGE)).rejects.toThrow(
      expect.objectContaining({ code: "ENOMEM" }),
    );
    expect(engine.stats().counters).toEqual(counters);
    expect(pfnsOf(view, engine)).toEqual(merged);
    for (const pfn of taken) putPage(view, pfn);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("unmerging takes one frame more than there are pages, no more than the kernel", async () => {
    const { engine, view } = await start();
    const pages = FRAMES - 1;
    const guest = engine.createGuest({ bytes: pages * PAGE });
    for (let gfn = 0; gfn < pages; gfn++) guest.write(gfn * PAGE, pageOf(gfn >>> 1));
    expect(engine.ksm.scanSync(2)).toMatchObject({ pages_shared: 7, pages_sharing: 7 });
    // The copies do not fit beside the merged frames at once: those go one after the other.
    await engine.ksm.set({ run: 2 });
    expect(new Set(pfnsOf(view, engine)).size).toBe(pages);
    for (let gfn = 0; gfn < pages; gfn++) {
      expect(Buffer.compare(guest.read(gfn * PAGE, PAGE), pageOf(gfn >>> 1))).toBe(0);
    }
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });
});
