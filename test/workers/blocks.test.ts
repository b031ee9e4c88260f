/** Blocks that come and go under real threads: nothing is lost, who does not take part is named, memory comes back. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import {
  attachEngine,
  createEngine,
  type Engine,
  type EngineOptions,
  type Released,
} from "../../dist/index.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";

const PAGE = 4096;
const MIB = 2 ** 20;
/** Frames of the smallest block. */
const FRAMES = 16;
const program = new URL("./programs/blocks.mjs", import.meta.url);

/** Blocks of 64 KiB. */
function small(options: EngineOptions): Promise<Engine> {
  return createEngine({ blockBytes: 64 * 1024, ...options });
}

type WaitAsync = (words: Int32Array, index: number, expected: number) => { value: unknown };

/** Where a program tells that it has begun, and is told to end. */
class Flag {
  readonly words = new Int32Array(new SharedArrayBuffer(8));

  async begun(): Promise<void> {
    // In all runtimes; in the compiler's library only from ES2024 on.
    const { waitAsync } = Atomics as unknown as { waitAsync: WaitAsync };
    await waitAsync(this.words, 1, 0).value;
  }

  end(): void {
    Atomics.store(this.words, 0, 1);
  }
}

function numbers(engine: Engine): number[] {
  return engine.blocks().map(({ block }) => block);
}

describe("a block goes offline", () => {
  it.each([0, 1])("under guests that write in one section (migrators: %i)", async (migrators) => {
    const engine = await small({
      ...{ nodes: 2, memoryPerNode: 8 * 64 * 1024, migrators },
      ksm: { run: 1, sleepMillisecs: 0 },
    });
    const flags = [new Flag(), new Flag()];
    const guests = flags.map((_, node) => engine.createGuest({ bytes: 3 * 64 * 1024, node }));
    const running = guests.map((guest, i) =>
      guest.run(program, { act: "churn", flag: flags[i]?.words }),
    );
    await Promise.all(flags.map((flag) => flag.begun()));
    for (const block of [0, 1, 8, 9, 2]) {
      expect(await engine.offlineBlock(block)).toEqual({ blocks: 1, bytes: expect.any(Number) });
    }
    expect(numbers(engine)).toEqual([3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]);
    expect(await engine.addBlock(1)).toBe(8);
    for (const flag of flags) flag.end();
    for (const { rounds, wrong } of (await Promise.all(running)) as never as Churned[]) {
      expect([rounds > 0, wrong]).toEqual([true, 0]);
    }
    expect(engine.stats().blocks).toEqual({ online: 12, removed: 5, added: 1 });
    await engine.ksm.set({ run: 0 });
    expect(await engine.check()).toMatchObject({ problems: [], frames: 12 * FRAMES });
    await engine.close();
  });

  it("but not while a page of it is pinned, which is named; then all is as before", async () => {
    const engine = await small({ memoryPerNode: 4 * 64 * 1024, workers: false });
    const guest = engine.createGuest({ bytes: 8 * PAGE });
    guest.fill(0, 8 * PAGE, 3);
    const pin = guest.pin(5 * PAGE, 1);
    const before = engine.stats().frames;
    const error = await engine.offlineBlock(0).catch((reason) => reason);
    expect(error).toMatchObject({
      ...{ code: "PAGEFOLD_BLOCK_BUSY" },
      details: { block: 0, pfn: 5, guest: guest.id, page: 5, reason: "pinned" },
    });
    expect(error.message).toMatch(/^block 0 stays: frame 5, page 5 of guest 0, .*pinned/);
    expect([engine.stats().frames, numbers(engine)]).toEqual([before, [0, 1, 2, 3]]);
    expect((await engine.check()).problems).toEqual([]);
    guest.write(5 * PAGE + 1, new Uint8Array([8]));
    pin.pages[0]?.bytes.fill(9);
    pin.release();
    expect(await engine.offlineBlock(0)).toEqual({ blocks: 1, bytes: 8 * PAGE });
    expect([...guest.read(5 * PAGE, 6)]).toEqual([9, 8, 3, 3, 3, 3]);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("but not while there is no frame for its pages", async () => {
    const engine = await small({ memoryPerNode: 2 * 64 * 1024, workers: false });
    engine.createGuest({ bytes: 20 * PAGE }).fill(0, 20 * PAGE, 3);
    await expect(engine.offlineBlock(0)).rejects.toMatchObject({
      ...{ code: "PAGEFOLD_BLOCK_BUSY", details: { reason: "no_frame" } },
    });
    expect(numbers(engine)).toEqual([0, 1]);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("but not while a thread comes to no safepoint, which is named; then it is back", async () => {
    const engine = await small({ nodes: 2, memoryPerNode: 2 * 64 * 1024, faultTimeout: 1000 });
    const flag = new Flag();
    const guest = engine.createGuest({ bytes: PAGE, node: 1 });
    const running = guest.run(program, { act: "deaf", flag: flag.words });
    await flag.begun();
    await expect(engine.offlineBlock(1)).rejects.toMatchObject({
      ...{ code: "PAGEFOLD_THREAD_STUCK", details: { threads: ["node 1"] } },
    });
    await expect(engine.addBlock(0)).rejects.toMatchObject({ code: "PAGEFOLD_NO_ROOM" });
    flag.end();
    expect(await running).toBe(7);
    // It has let go of the block and taken it again by now, or is about to: then the block is online again.
    expect(await engine.offlineBlock(0)).toEqual({ blocks: 1, bytes: 0 });
    expect(engine.blocks().map(({ block, state }) => [block, state])).toEqual([
      ...[1, 2, 3].map((block) => [block, "online"]),
    ]);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("and none comes of which a thread has not heard: its frames stay unseen, and it goes again", async () => {
    const options = { memoryPerNode: 64 * 1024, maxMemoryPerNode: 2 * 64 * 1024 };
    const engine = await small({ ...options, faultTimeout: 1000 });
    const flag = new Flag();
    const deaf = engine.createGuest({ bytes: PAGE });
    const running = deaf.run(program, { act: "deaf", flag: flag.words });
    await flag.begun();
    await expect(engine.addBlock(0)).rejects.toMatchObject({
      ...{ code: "PAGEFOLD_THREAD_STUCK", details: { threads: ["node 0"] } },
    });
    const guest = engine.createGuest({ bytes: FRAMES * PAGE });
    // 15 frames are left; the sixteenth page asks for a block, in vain.
    expect(() => guest.fill(0, FRAMES * PAGE, 1)).toThrow(
      expect.objectContaining({ code: "PAGEFOLD_NO_FRAME" }),
    );
    expect(engine.stats().frames).toEqual({ total: FRAMES, used: FRAMES, free: 0 });
    flag.end();
    await running;
    // Nobody owes anything any more: now it comes.
    guest.fill((FRAMES - 1) * PAGE, PAGE, 1);
    expect(engine.stats().frames).toEqual({
      total: 2 * FRAMES,
      used: FRAMES + 1,
      free: FRAMES - 1,
    });
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("with the stable nodes whose frames are gone", async () => {
    const engine = await small({ memoryPerNode: 4 * 64 * 1024, ksm: { run: 1, pagesToScan: 0 } });
    const guest = engine.createGuest({ bytes: 8 * PAGE });
    guest.fill(0, 8 * PAGE, 3);
    expect(await engine.ksm.scan(2)).toMatchObject({ pages_shared: 1, pages_sharing: 7 });
    for (let gfn = 0; gfn < 8; gfn++) guest.write(gfn * PAGE, new Uint8Array([gfn]));
    // ksmd has not noticed that nobody shares the frame any more.
    expect(engine.stats().counters).toMatchObject({ pages_shared: 1, ksm_ptes: 0 });
    await engine.offlineBlock(0);
    expect(engine.stats().counters).toMatchObject({ pages_shared: 0, pages_sharing: 0 });
    expect(await engine.ksm.scan(3)).toMatchObject({ pages_shared: 0, pages_unshared: 8 });
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("and comes back when frames run out, for whichever thread that happens to", async () => {
    const engine = await small({
      ...{ memoryPerNode: 64 * 1024, maxMemoryPerNode: 4 * 64 * 1024 },
    });
    const guest = engine.createGuest({ bytes: 40 * PAGE });
    expect(engine.stats().frames.total).toBe(FRAMES);
    // A worker of the engine, in a section.
    expect(await guest.run(program, { act: "fill" })).toBe(0);
    expect(engine.stats()).toMatchObject({
      blocks: { online: 3, removed: 0, added: 2 },
      frames: { total: 3 * FRAMES, used: 40 },
    });
    // This thread, which cannot wait for messages meanwhile.
    const other = engine.createGuest({ bytes: 24 * PAGE });
    other.fill(0, 24 * PAGE, 1);
    expect(engine.stats().blocks.added).toBe(3);
    expect(() => engine.createGuest({ bytes: PAGE }).fill(0, 1, 1)).toThrow(
      expect.objectContaining({ code: "PAGEFOLD_NO_FRAME", details: expect.anything() }),
    );
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("and an unmerge that needs it gets it back", async () => {
    const engine = await small({
      ...{ memoryPerNode: 2 * 64 * 1024, ksm: { run: 1, pagesToScan: 0 }, scanTimeout: 1000 },
    });
    const guest = engine.createGuest({ bytes: 31 * PAGE });
    guest.fill(0, 31 * PAGE, 3);
    await engine.ksm.scan(2);
    expect(await engine.compact()).toMatchObject({ blocks: 1 });
    await engine.ksm.set({ run: 2 });
    expect(engine.stats()).toMatchObject({ blocks: { online: 2, removed: 1, added: 1 } });
    expect(engine.stats().counters.ksm_ptes).toBe(0);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("without a thread that has left, and without one that died when it is disowned", async () => {
    const engine = await small({ memoryPerNode: 4 * 64 * 1024, faultTimeout: 1000 });
    const attached = [await attachEngine(engine.handle), await attachEngine(engine.handle)];
    await engine.offlineBlock(3);
    for (const each of attached) expect(each.stats().blocks.online).toBe(3);
    attached[0]?.close();
    await engine.offlineBlock(2);
    expect(attached[1]?.stats().blocks.online).toBe(2);
    attached[1]?.close();
    const guest = engine.createGuest({ bytes: PAGE });
    const dead = startWorker("joining", { handle: engine.handle, guest: guest.id, die: true });
    const thread = await nextMessage<number>(dead);
    await ended(dead);
    const error = await engine.offlineBlock(1).catch((reason) => reason);
    expect(error).toMatchObject({ code: "PAGEFOLD_THREAD_STUCK", details: { numbers: [thread] } });
    engine.disown(thread);
    expect(await engine.offlineBlock(1)).toMatchObject({ blocks: 1 });
    await engine.close();
  });

  it("for two that joined in one thread, and for the owner's thread, when frames run out there", async () => {
    const engine = await small({ memoryPerNode: 64 * 1024, maxMemoryPerNode: 4 * 64 * 1024 });
    const attached = await attachEngine(engine.handle);
    const guest = engine.createGuest({ bytes: 60 * PAGE });
    guest.fill(0, 20 * PAGE, 1);
    attached.guest(guest.id).fill(20 * PAGE, 20 * PAGE, 2);
    expect(engine.stats()).toMatchObject({ blocks: { online: 3 }, frames: { used: 40 } });
    expect([guest.read(0, 1)[0], guest.read(39 * PAGE, 1)[0]]).toEqual([1, 2]);
    attached.close();
    await engine.close();
  });
});

describe("a change that is given up", () => {
  it.each([0, 1])("by its signal leaves the block as it was (migrators: %i)", async (migrators) => {
    const engine = await small({ memoryPerNode: 4 * 64 * 1024, migrators });
    const guest = engine.createGuest({ bytes: 64 * PAGE });
    guest.fill(0, 8 * PAGE, 3);
    for (let turn = 0; turn < 8; turn++) {
      const controller = new AbortController();
      const call = engine.offlineBlock(turn % 4, { signal: controller.signal });
      for (let tick = 0; tick < turn; tick++) await null;
      controller.abort();
      const error = await call.catch((reason) => reason);
      expect(error).toMatchObject({ name: "AbortError" });
    }
    // In turn: it comes after whatever is left of the others.
    expect(await engine.addBlock(0).catch((reason) => reason.code)).toBe("PAGEFOLD_NO_ROOM");
    expect(engine.stats()).toMatchObject({
      ...{ blocks: { online: 4, removed: 0 }, frames: { total: 64, used: 8, free: 56 } },
    });
    guest.fill(8 * PAGE, 56 * PAGE, 4);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("because guests need its frames, at once", async () => {
    const engine = await small({ memoryPerNode: 8 * 64 * 1024 });
    const guest = engine.createGuest({ bytes: 128 * PAGE });
    guest.fill(0, 4 * PAGE, 3);
    const pin = guest.pin(0, 1);
    const going = engine.offlineBlock(0).catch((reason) => reason);
    const others = [1, 2, 3, 4, 5, 6].map((block) => engine.offlineBlock(block));
    await new Promise((resolve) => setImmediate(resolve));
    // This very thread needs more than the last block has.
    guest.fill(0, 120 * PAGE, 4);
    expect(await going).toMatchObject({ code: "PAGEFOLD_BLOCK_BUSY" });
    pin.release();
    await Promise.allSettled(others);
    for (let page = 0; page < 120; page++) expect(guest.read(page * PAGE, 1)[0]).toBe(4);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("because guests need its frames, whenever that is", async () => {
    for (let ticks = 0; ticks < 24; ticks++) {
      const engine = await small({ memoryPerNode: 2 * 64 * 1024, workers: false });
      const guest = engine.createGuest({ bytes: 32 * PAGE });
      guest.fill(0, 4 * PAGE, 3);
      const going = engine.offlineBlock(0).then(
        () => "gone",
        (reason) => reason.code,
      );
      for (let tick = 0; tick < ticks; tick++) await null;
      try {
        guest.fill(4 * PAGE, 20 * PAGE, 4);
      } catch (error) {
        // On its way to every thread by then; it is gone in a moment, and can come again.
        expect(error).toMatchObject({ code: "PAGEFOLD_NO_FRAME" });
      }
      expect(["gone", "PAGEFOLD_BLOCK_BUSY"]).toContain(await going);
      guest.fill(4 * PAGE, 20 * PAGE, 4);
      for (let page = 0; page < 24; page++) {
        expect(guest.read(page * PAGE, 1)[0], `ticks ${ticks}`).toBe(page < 4 ? 3 : 4);
      }
      expect((await engine.check()).problems, `ticks ${ticks}`).toEqual([]);
      await engine.close();
    }
  });

  it("because the engine closes tells so, as does joining it later", async () => {
    const engine = await small({ memoryPerNode: 4 * 64 * 1024, faultTimeout: 60_000 });
    const flag = new Flag();
    const running = engine
      .createGuest({ bytes: PAGE })
      .run(program, { act: "deaf", flag: flag.words });
    await flag.begun();
    const closed = { code: "PAGEFOLD_CLOSED" };
    const calls = [running, engine.offlineBlock(3), engine.addBlock(0), engine.compact()];
    const ends = Promise.all(calls.map((call) => expect(call).rejects.toMatchObject(closed)));
    await engine.close();
    await ends;
    await expect(attachEngine(engine.handle)).rejects.toMatchObject(closed);
  });

  it("as a policy is over when setPolicies has resolved", async () => {
    const engine = await small({ memoryPerNode: 8 * 64 * 1024, migrators: 1 });
    const guest = engine.createGuest({ bytes: 128 * PAGE });
    guest.fill(0, 128 * PAGE, 1);
    await engine.ksm.set({ run: 1, sleepMillisecs: 0, maxPageSharing: 128 });
    await engine.settled();
    await engine.setPolicies(["compact"]);
    await once(engine, "released");
    await engine.setPolicies([]);
    expect(engine.blocks().every(({ state }) => state === "online")).toBe(true);
    await engine.close();
  });
});

interface Churned {
  readonly rounds: number;
  readonly wrong: number;
}

describe("compaction", () => {
  it("empties sparse blocks by itself while the policy says so, and no guest notices", async () => {
    const engine = await small({
      ...{ memoryPerNode: 16 * 64 * 1024, migrators: 1, ksm: { run: 0 } },
    });
    const guest = engine.createGuest({ bytes: 200 * PAGE });
    for (let gfn = 0; gfn < 200; gfn++) guest.fill(gfn * PAGE, PAGE, gfn % 4 === 0 ? gfn : 255);
    await engine.ksm.set({ run: 1, sleepMillisecs: 0 });
    await engine.settled();
    expect(engine.stats()).toMatchObject({ blocks: { removed: 0 }, frames: { used: 51 } });
    await engine.setPolicies(["compact"]);
    const [{ blocks }] = (await once(engine, "released")) as [Released];
    await engine.setPolicies([]);
    // 13 blocks have been in use; 51 frames and a quarter of a block that stays free are in 4.
    expect([blocks, engine.stats().blocks]).toEqual([9, { online: 7, removed: 9, added: 0 }]);
    for (let gfn = 0; gfn < 200; gfn++) {
      expect(guest.read(gfn * PAGE, 1)[0]).toBe(gfn % 4 === 0 ? gfn : 255);
    }
    await engine.ksm.set({ run: 0 });
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("gives memory back to the system, and says how much", async () => {
    const script = fileURLToPath(new URL("./programs/released.mjs", import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, ["--expose-gc", script]);
    const { before, after, released, wrong } = JSON.parse(stdout);
    expect(wrong).toBe(0);
    // Half of the pages keep a frame each, and one block more has the frame that the others share.
    expect(released).toBe(88 * MIB);
    // Of what the process has besides, some megabytes come and go.
    expect(Math.abs(before - after - released) / released).toBeLessThan(0.1);
  });
});
