/** Migration on real engines: what moves, what does not and why, and that nobody loses a byte. */
import { afterEach, describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest, PAGE_SIZE } from "../../dist/index.js";
import { attachHandle } from "../../dist/machine/handle.js";
import { trylockPage, unlockPage } from "../../dist/mm/page-lock.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";
import { pfnsOf } from "./pfns.js";

const NONE_FAILED = { pinned: 0, busy: 0, no_frame: 0, raced: 0, timeout: 0 };
const PAGES = 64;

let engine: Engine;
afterEach(() => engine?.close());

function numbered(page: number): Uint8Array {
  const words = new Int32Array(PAGE_SIZE / 4).fill(page + 1);
  return new Uint8Array(words.buffer);
}

function fill(guest: EngineGuest, contentOf: (page: number) => number): void {
  for (let page = 0; page < PAGES; page++) guest.write(page * PAGE_SIZE, numbered(contentOf(page)));
}

function expectPages(guest: EngineGuest, contentOf: (page: number) => number): void {
  for (let page = 0; page < PAGES; page++) {
    const found = guest.read(page * PAGE_SIZE, PAGE_SIZE);
    expect(Buffer.compare(found, numbered(contentOf(page))), `page ${page}`).toBe(0);
  }
}

const CREWS = [
  { title: "in the calling thread", workers: true, migrators: 0 },
  { title: "by two migrators", workers: true, migrators: 2 },
  { title: "without workers", workers: false, migrators: 0 },
];

describe.each(CREWS)("migration $title", ({ workers, migrators }) => {
  const start = async (): Promise<EngineGuest[]> => {
    const ksm = { run: 1, sleepMillisecs: 0, pagesToScan: 0 } as const;
    const sizes = { nodes: 2, memoryPerNode: 2 ** 20 };
    engine = await createEngine({ ...sizes, workers, migrators, ksm });
    return [0, 1].map((node) => engine.createGuest({ bytes: PAGES * PAGE_SIZE, node }));
  };

  it("moves the frames of a guest, and later pages are taken at its new home", async () => {
    const [guest] = await start();
    fill(guest, (page) => page);
    expect(engine.stats().nodes.map(({ used }) => used)).toEqual([PAGES, 0]);
    expect(await guest.moveToNode(1)).toEqual({ succeeded: PAGES, failed: NONE_FAILED });
    expect(guest.node).toBe(1);
    expect(engine.stats().nodes.map(({ used }) => used)).toEqual([0, PAGES]);
    expectPages(guest, (page) => page);
    expect(await guest.moveToNode(1)).toEqual({ succeeded: 0, failed: NONE_FAILED });
    expect((await engine.check()).problems).toEqual([]);
  });

  it("moves merged frames with all their sharers, and they stay merged", async () => {
    const [a, b] = await start();
    for (const guest of [a, b]) fill(guest, (page) => page % 8);
    await engine.ksm.scan(2);
    const { pages_shared, pages_sharing } = engine.stats().counters;
    expect([pages_shared, pages_sharing]).toEqual([8, 2 * PAGES - 8]);
    // Whichever node's page was merged onto: all are on one of them.
    const to = engine.stats().nodes[0]?.used === 0 ? 0 : 1;
    expect(engine.stats().nodes[to]?.used).toBe(0);
    expect(await engine.migrate({ guest: a, to })).toEqual({ succeeded: 8, failed: NONE_FAILED });
    expect(engine.stats().nodes[to]?.used).toBe(8);
    for (const guest of [a, b]) expectPages(guest, (page) => page % 8);
    await engine.ksm.scan(1);
    expect(engine.stats().counters).toMatchObject({ pages_shared, pages_sharing, ksm_ptes: 128 });
    b.write(0, Uint8Array.of(0xee));
    expectPages(a, (page) => page % 8);
    expect((await engine.check()).problems).toEqual([]);
  });

  it("counts what cannot be moved, and leaves it as it was", async () => {
    const [a] = await start();
    fill(a, (page) => page);
    const pfns = await pfnsOf(engine, a);
    const pin = a.pin(3 * PAGE_SIZE, 2 * PAGE_SIZE);
    const free = Math.max(...pfns) + 10;
    const strange = [-1, 1.5, 2 ** 30, Number.NaN, free];
    expect(await engine.migrate({ pfns: [...pfns, ...strange], to: 1 })).toEqual({
      succeeded: PAGES - 2,
      failed: { ...NONE_FAILED, pinned: 2, raced: strange.length },
    });
    for (const { bytes } of pin.pages) bytes[7] = 0x77;
    pin.release();
    expect([a.read(3 * PAGE_SIZE + 7, 1)[0], a.read(4 * PAGE_SIZE + 7, 1)[0]]).toEqual([
      0x77, 0x77,
    ]);
    expect(await engine.migrate({ guest: a, to: 1 })).toMatchObject({ succeeded: 2 });
    expect((await engine.check()).problems).toEqual([]);
  });

  it("counts frames for which the node has no room", async () => {
    const [a, b] = await start();
    const frames = engine.stats().nodes[1]?.total ?? 0;
    const large = engine.createGuest({ bytes: (frames - 10) * PAGE_SIZE, node: 1 });
    large.fill(0, (frames - 10) * PAGE_SIZE, 9);
    fill(a, (page) => page);
    expect(await engine.migrate({ guest: a, to: 1 })).toEqual({
      succeeded: 10,
      failed: { ...NONE_FAILED, no_frame: PAGES - 10 },
    });
    expectPages(a, (page) => page);
    expect(b.node).toBe(1);
    expect((await engine.check()).problems).toEqual([]);
  });

  it("counts frames whose page lock another thread holds", async () => {
    const [a] = await start();
    fill(a, (page) => page);
    const pfns = await pfnsOf(engine, a);
    const other = await attachHandle(engine.handle);
    const held = pfns.slice(3, 6);
    for (const pfn of held) expect(trylockPage(other, pfn)).toBe(true);
    expect(await engine.migrate({ guest: a, to: 1 })).toEqual({
      succeeded: PAGES - held.length,
      failed: { ...NONE_FAILED, busy: held.length },
    });
    for (const pfn of held) unlockPage(other, pfn);
    expect(await engine.migrate({ guest: a, to: 1 })).toMatchObject({ succeeded: held.length });
    expectPages(a, (page) => page);
    expect((await engine.check()).problems).toEqual([]);
  });

  it("counts frames of a guest whose vCPU reaches no safepoint; another guest's move", async () => {
    const [a, b] = await start();
    fill(a, (page) => page);
    fill(b, (page) => page);
    const flag = new Int32Array(new SharedArrayBuffer(4));
    const data = { handle: engine.handle, guest: a.id, flag, steps: ["hold"], at: 0 };
    const dweller = startWorker("section", data);
    await nextMessage(dweller);
    const pfns = [...(await pfnsOf(engine, a)), ...(await pfnsOf(engine, b))];
    // Those of b to the node where they are: each to another frame of it.
    expect(await engine.migrate({ pfns, to: 1 })).toEqual({
      succeeded: PAGES,
      failed: { ...NONE_FAILED, timeout: PAGES },
    });
    // Every pte stands as it stood: the guest goes on meanwhile.
    expectPages(a, (page) => page);
    fill(a, (page) => page + 1);
    const left = nextMessage(dweller);
    Atomics.add(flag, 0, 1);
    await left;
    await ended(dweller);
    expect(await engine.migrate({ guest: a, to: 1 })).toMatchObject({ succeeded: PAGES });
    expectPages(a, (page) => page + 1);
    expectPages(b, (page) => page);
    expect((await engine.check()).problems).toEqual([]);
  });

  it("refuses nodes that there are not, and what is neither a guest nor frames", async () => {
    const [a] = await start();
    const refused = { code: "PAGEFOLD_BAD_OPTION" };
    for (const to of [-1, 2, 0.5]) {
      await expect(engine.migrate({ guest: a, to })).rejects.toMatchObject(refused);
      await expect(a.moveToNode(to)).rejects.toMatchObject(refused);
    }
    expect(a.node).toBe(0);
    for (const what of [{}, { pfns: 7 }, { guest: a, pfns: [] }, { frames: [] }]) {
      const options = { ...what, to: 1 } as Parameters<Engine["migrate"]>[0];
      await expect(engine.migrate(options)).rejects.toMatchObject(refused);
    }
    await engine.close();
    await expect(engine.migrate({ guest: a, to: 1 })).rejects.toMatchObject({
      code: "PAGEFOLD_CLOSED",
    });
  });

  it("is given up by its signal, and goes on from there", async () => {
    const [a] = await start();
    fill(a, (page) => page);
    const abort = new AbortController();
    abort.abort(new Error("enough"));
    const call = engine.migrate({ guest: a, to: 1 }, { signal: abort.signal });
    await expect(call).rejects.toThrow("enough");
    expect(await engine.migrate({ guest: a, to: 1 })).toMatchObject({ succeeded: PAGES });
  });

  it.skipIf(migrators > 0)("is refused from within a section", async () => {
    const [a] = await start();
    fill(a, (page) => page);
    const vcpu = a.vcpu();
    let call: Promise<unknown> = Promise.resolve();
    vcpu.run(() => {
      call = engine.migrate({ guest: a, to: 1 });
      call.catch(() => {});
    });
    await expect(call).rejects.toMatchObject({ code: "PAGEFOLD_IN_SECTION" });
  });
});
