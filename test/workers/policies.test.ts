/** Policies of migrators on real engines: what each brings about, while threads write, and how they are switched. */
import { afterEach, describe, expect, it } from "vitest";
import {
  createEngine,
  type Engine,
  type EngineGuest,
  type EngineOptions,
} from "../../dist/index.js";
import { attachHandle } from "../../dist/machine/handle.js";
import { setGuestNode } from "../../dist/mm/guest.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";
// @ts-expect-error: plain JavaScript, because the writers run it in threads of their own
import * as cells from "./programs/cells.mjs";
import { PAGE, unlessStalled, verifyAll, type Writing, type Written, write } from "./writing.js";

const PAGES = 512;
const TWO: Writing = { guests: [0, 1], pages: PAGES, shared: 0, enough: 1000 };
const ONE: Writing = { guests: [0, 0], pages: PAGES, shared: 96, enough: 1000 };
const KSM = { run: 1, sleepMillisecs: 0, pagesToScan: 512, maxPageSharing: 16 } as const;

let engine: Engine;
afterEach(() => engine?.close());

async function start(options: EngineOptions): Promise<void> {
  engine = await createEngine({
    ...{ nodes: 2, memoryPerNode: 8 * 2 ** 20, maxGuests: 4, migrators: 2, ksm: KSM },
    ...options,
  });
}

/** Guests whose frames are taken on node 0. */
function guests(count: number): EngineGuest[] {
  return Array.from({ length: count }, () => engine.createGuest({ bytes: PAGES * PAGE, node: 0 }));
}

/** Another home, for frames to follow to: `moveToNode` would move them itself. */
async function setHome(guest: EngineGuest, node: number): Promise<void> {
  setGuestNode(await attachHandle(engine.handle), guest.id, node);
}

/** Waits for a state of the engine that its workers bring about. */
async function until(reached: () => boolean | Promise<boolean>): Promise<void> {
  const wait = async (): Promise<void> => {
    while (!(await reached())) await new Promise((resolve) => setImmediate(resolve));
  };
  await unlessStalled(engine, wait());
}

/** The part of the guest's pages whose frames are not on its home. */
async function remoteShare(guest: EngineGuest): Promise<number> {
  const { pages, remote_pages } = (await engine.report()).guests[guest.id] ?? {};
  return (remote_pages as number) / (pages as number);
}

/** By how much the largest part of free frames exceeds the smallest. */
function spread(): number {
  const free = engine.stats().nodes.map((node) => node.free / node.total);
  return Math.max(...free) - Math.min(...free);
}

/** With nobody writing and ksmd at rest: every byte, and every count. */
async function verify(all: EngineGuest[], writing: Writing, written: Written[]) {
  verifyAll(all, writing, written);
  await engine.setPolicies([]);
  await engine.ksm.set({ run: 0 });
  verifyAll(all, writing, written);
  expect((await engine.check()).problems).toEqual([]);
  await engine.ksm.set({ run: 2 });
  expect(engine.stats().counters.ksm_ptes).toBe(0);
  verifyAll(all, writing, written);
  expect((await engine.check()).problems).toEqual([]);
}

describe("follow", () => {
  it.each([
    ["two guests", TWO],
    ["one guest", ONE],
  ])("brings the frames of %s to their new home while two threads write", async (_, writing) => {
    await start({ policies: ["follow"] });
    const all = guests(new Set(writing.guests).size);
    // Writing and merging bring frames to a new home too; those of this one only follow can.
    const quiet = engine.createGuest({ bytes: 64 * PAGE, node: 0, mergeable: false });
    for (let page = 0; page < 64; page++) quiet.fill(page * PAGE, PAGE, page + 1);
    const writes = write(engine, writing);
    await until(async () => (await engine.report()).guests[0]?.pages === PAGES);
    for (const guest of [...all, quiet]) await setHome(guest, 1);
    await until(async () => (await remoteShare(quiet)) === 0);
    const written = await writes;
    for (const guest of all) await until(async () => (await remoteShare(guest)) < 0.05);
    expect(engine.stats().migrations.succeeded).toBeGreaterThanOrEqual(64);
    await verify(all, writing, written);
  });

  it("brings shared frames to where most of their pages are at home", async () => {
    await start({});
    const all = guests(3);
    for (const guest of all) {
      for (let page = 0; page < 64; page++) guest.fill(page * PAGE, PAGE, page + 1);
    }
    await engine.settled();
    expect(engine.stats().counters).toMatchObject({ pages_shared: 64, pages_sharing: 128 });
    await engine.ksm.set({ run: 0 });
    expect(engine.stats().nodes.map(({ used }) => used)).toEqual([64, 0]);
    for (const guest of all.slice(1)) await setHome(guest, 1);
    await engine.setPolicies(["follow"]);
    await until(() => engine.stats().nodes[0]?.used === 0);
    await engine.setPolicies([]);
    const { guests: rows } = await engine.report();
    expect(rows.map(({ remote_pages }) => remote_pages)).toEqual([64, 0, 0]);
    expect(engine.stats().migrations.succeeded).toBe(64);
    expect((await engine.check()).problems).toEqual([]);
  });
});

describe("balance", () => {
  it("brings free frames within 10 % while two threads write, and comes to rest", async () => {
    await start({ memoryPerNode: 5 * 2 ** 20, policies: ["balance"] });
    const all = guests(2);
    const filler = engine.createGuest({ bytes: PAGES * PAGE, node: 0 });
    for (let page = 0; page < PAGES; page++) {
      filler.write(
        page * PAGE,
        cells.bytesOf(9, { ...{ gfn: page, from: 0, length: PAGE }, class: 0 }, 1),
      );
    }
    const written = await write(engine, TWO);
    await engine.ksm.set({ run: 0 });
    await until(() => spread() <= 0.1);
    // Whoever has heard has no batch under way; within 10 % no other is begun.
    await engine.setPolicies(["balance"]);
    const { migrations } = engine.stats();
    expect(spread()).toBeLessThanOrEqual(0.1);
    for (let round = 0; round < 100; round++) await engine.setPolicies(["balance"]);
    expect(engine.stats().migrations).toEqual(migrations);
    expect(migrations.succeeded).toBeGreaterThan(0);
    await verify(all, TWO, written);
  });

  it("comes to rest with follow beside it, on a node that is home to more than it holds", async () => {
    await start({ memoryPerNode: 2 ** 20, ksm: {}, policies: ["follow", "balance"] });
    const [guest] = guests(1) as [EngineGuest];
    guest.fill(0, 256 * PAGE, 7);
    await until(() => spread() <= 0.1);
    await engine.setPolicies(["follow", "balance"]);
    const { migrations } = engine.stats();
    for (let round = 0; round < 100; round++) await engine.setPolicies(["follow", "balance"]);
    expect(engine.stats().migrations).toEqual(migrations);
    expect(spread()).toBeLessThanOrEqual(0.1);
    expect(guest.read(0, 256 * PAGE).every((byte) => byte === 7)).toBe(true);
    await engine.setPolicies([]);
    expect((await engine.check()).problems).toEqual([]);
  });
});

describe("chaos", () => {
  it.each([
    ["two guests", TWO],
    ["one guest", ONE],
  ])("moves frames of %s at random, on and off, while two threads write", async (_, writing) => {
    await start({ policies: ["chaos"] });
    const all = guests(new Set(writing.guests).size);
    let written: Written[] | null = null;
    const writes = write(engine, writing).then((result) => {
      written = result;
      return result;
    });
    let switches = 0;
    while (written === null || switches < 4) {
      const { succeeded } = engine.stats().migrations;
      await until(() => engine.stats().migrations.succeeded > succeeded + 200);
      await engine.setPolicies([]);
      expect(engine.policies).toEqual([]);
      const { migrations } = engine.stats();
      // Each round trip is as good a time as any for a migrator that has not heard to go on.
      for (let round = 0; round < 5; round++) await engine.setPolicies([]);
      await engine.report();
      expect(engine.stats().migrations).toEqual(migrations);
      await engine.setPolicies(switches % 2 === 0 ? ["follow", "chaos"] : ["chaos", "balance"]);
      switches++;
    }
    expect(engine.stats().migrations.succeeded).toBeGreaterThan(4 * 200);
    await verify(all, writing, await writes);
  });

  it("leaves a device its page: what is written through pins arrives", async () => {
    await start({ policies: ["chaos"] });
    const all = guests(2);
    const devices = all.map(({ id: guest }) =>
      startWorker("pinner", { handle: engine.handle, guest, pages: PAGES, enough: 300 }),
    );
    type Told = { versions: Uint32Array; pinned: number };
    const told = Promise.all(devices.map((device) => nextMessage<Told>(device)));
    const results = await unlessStalled(engine, told);
    await Promise.all(devices.map(ended));
    const { counters, migrations } = engine.stats();
    expect(counters.pages_merged).toBeGreaterThanOrEqual(300);
    expect(migrations.failed.pinned).toBeGreaterThanOrEqual(300);
    for (const { pinned } of results) expect(pinned).toBeGreaterThan(PAGES);
    const written = results.map(({ versions }) => ({ versions, verified: 0, turns: 0 }));
    await verify(all, TWO, written);
  });
});

describe("migrators and engine.migrate", () => {
  it("are counted together", async () => {
    await start({ ksm: {}, policies: ["chaos"] });
    const [guest] = guests(1) as [EngineGuest];
    guest.fill(0, 64 * PAGE, 1);
    await until(() => engine.stats().migrations.succeeded > 0);
    await engine.setPolicies([]);
    const before = engine.stats().migrations;
    const { succeeded, failed } = await engine.migrate({ guest, to: 0 });
    expect(failed).toEqual({ pinned: 0, busy: 0, no_frame: 0, raced: 0, timeout: 0 });
    expect(engine.stats().migrations.succeeded).toBe(before.succeeded + succeeded);
    expect(engine.stats().migrations.failed).toEqual(before.failed);
    expect(engine.stats().nodes[1]?.used).toBe(0);
    expect((await engine.check()).problems).toEqual([]);
  });

  it("tell their policies apart", async () => {
    await start({ policies: ["compact", "follow"] });
    expect(engine.policies).toEqual(["follow", "compact"]);
    await engine.setPolicies(["chaos", "balance"]);
    expect(engine.policies).toEqual(["balance", "chaos"]);
    const refused = { code: "PAGEFOLD_BAD_OPTION" };
    await expect(engine.setPolicies(["chaos", "chaos"])).rejects.toMatchObject(refused);
    expect(engine.policies).toEqual(["balance", "chaos"]);
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    await expect(engine.setPolicies([], { signal: abort.signal })).rejects.toThrow("enough");
    expect(engine.policies).toEqual(["balance", "chaos"]);
  });
});
