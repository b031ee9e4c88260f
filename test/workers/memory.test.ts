/** Pins, regions, settling and memory that runs out, on engines with and without workers. */
import { afterEach, describe, expect, it } from "vitest";
import {
  createEngine,
  type Engine,
  type EngineGuest,
  type EngineOptions,
} from "../../dist/index.js";
import { attachHandle } from "../../dist/machine/handle.js";
import { allocFrame, putPage } from "../../dist/mm/frames.js";

const PAGE = 4096;
const BLOCK = 64 * 1024;
const FRAMES = 64;

function page(number: number): Uint8Array {
  return Uint8Array.from({ length: PAGE }, (_, i) => (i < 4 ? number >>> (8 * i) : i * 7));
}

function expectPages(guest: EngineGuest, pages: number, contentOf: (gfn: number) => number): void {
  for (let gfn = 0; gfn < pages; gfn++) {
    const found = guest.read(gfn * PAGE, PAGE);
    expect(Buffer.compare(found, page(contentOf(gfn))), `page ${gfn}`).toBe(0);
  }
}

function isFilled(bytes: Uint8Array, byte: number): boolean {
  return Buffer.compare(bytes, Buffer.alloc(bytes.length, byte)) === 0;
}

describe.each([true, false])("memory (workers: %s)", (workers) => {
  let engine: Engine;
  const start = async (options: EngineOptions = {}): Promise<Engine> => {
    const ksm = { run: 1, sleepMillisecs: 0 } as const;
    engine = await createEngine({ workers, nodes: 1, memoryPerNode: 4 * 2 ** 20, ksm, ...options });
    return engine;
  };
  /** An engine of 64 frames, and guests for more pages than that. */
  const startSmall = (): Promise<Engine> =>
    start({ memoryPerNode: FRAMES * PAGE, blockBytes: BLOCK, maxGuestBytes: 4 * FRAMES * PAGE });
  const checkClean = async (): Promise<void> => {
    await engine.ksm.set({ run: 0 });
    expect((await engine.check()).problems).toEqual([]);
    await engine.ksm.set({ run: 1 });
  };
  afterEach(async () => {
    await checkClean();
    await engine.close();
  });

  it("pins: bytes go both ways, pages stay where they are and merge when released", async () => {
    const guest = (await start()).createGuest({ bytes: 16 * PAGE });
    guest.fill(0, guest.bytes, 1);
    await engine.ksm.scan(2);
    expect(engine.stats().counters).toMatchObject({ pages_shared: 1, pages_sharing: 15 });
    // Four pages, the first and the last in part: merged ones get frames of their own again.
    const pin = guest.pin(3 * PAGE + 100, 2 * PAGE + 4000);
    expect(pin.pages.map(({ address, bytes }) => [address, bytes.length])).toEqual([
      [3 * PAGE + 100, PAGE - 100],
      [4 * PAGE, PAGE],
      [5 * PAGE, PAGE],
      [6 * PAGE, 4],
    ]);
    expect(pin.pages.every(({ bytes }) => bytes.every((byte) => byte === 1))).toBe(true);
    await engine.ksm.scan(3);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 11, ksm_ptes: 12 });
    pin.pages[1].bytes[7] = 5;
    guest.write(5 * PAGE + 8, Uint8Array.of(6));
    expect([guest.read(4 * PAGE + 7, 1)[0], pin.pages[2].bytes[8]]).toEqual([5, 6]);
    await checkClean();
    // What is written through a pin long after the last scan counts too.
    pin.pages[3].bytes[0] = 7;
    pin.release();
    pin.release();
    await engine.ksm.scan(3);
    const { counters } = engine.stats();
    expect(counters).toMatchObject({ pages_sharing: 12, pages_unshared: 3, ksm_ptes: 13 });
    const bytes = Buffer.alloc(guest.bytes, 1);
    bytes[4 * PAGE + 7] = 5;
    bytes[5 * PAGE + 8] = 6;
    bytes[6 * PAGE] = 7;
    expect(bytes.equals(guest.read(0, guest.bytes))).toBe(true);
  });

  it("pins: a device's last bytes are never taken for the old ones", async () => {
    const guest = (await start()).createGuest({ bytes: 3 * PAGE });
    guest.fill(0, guest.bytes, 1);
    const pin = guest.pin(PAGE, PAGE);
    for (let round = 2; round < 40; round++) {
      await engine.ksm.scan(2);
      // The scanned content was hashed, and equals its neighbours'; now it does no more.
      pin.pages[0].bytes.fill(round);
      if (round % 2 === 1) guest.pin(PAGE, 1).release();
      await engine.ksm.scan(1);
      expect(isFilled(guest.read(PAGE, PAGE), round)).toBe(true);
      pin.pages[0].bytes.fill(1);
    }
    pin.release();
    await engine.ksm.scan(3);
    expect(engine.stats().counters).toMatchObject({ pages_shared: 1, pages_sharing: 2 });
  });

  it("regions: merged where allowed, private where not", async () => {
    const guest = (await start()).createGuest({ bytes: 32 * PAGE, mergeable: false });
    guest.fill(0, guest.bytes, 1);
    await engine.ksm.scan(2);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 0, pages_volatile: 0 });
    await guest.mergeable(8 * PAGE, 16 * PAGE);
    await engine.ksm.scan(2);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 15, ksm_ptes: 16 });
    await guest.unmergeable(10 * PAGE, 4 * PAGE);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 11, ksm_ptes: 12 });
    await engine.ksm.scan(3);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 11, pages_volatile: 0 });
    // Part of it is merged already: for that nothing changes.
    await guest.mergeable();
    await engine.ksm.scan(2);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 31, ksm_ptes: 32 });
    await guest.unmergeable();
    expect(engine.stats()).toMatchObject({ frames: { used: 32 }, counters: { ksm_ptes: 0 } });
    expect(isFilled(guest.read(0, guest.bytes), 1)).toBe(true);
  });

  it("overcommit: guests are larger than memory, as long as they have pages in common", async () => {
    await startSmall();
    const guests = [0, 1, 2].map(() => engine.createGuest({ bytes: FRAMES * PAGE }));
    for (const guest of guests) {
      for (let gfn = 0; gfn < FRAMES / 4; gfn++) guest.write(gfn * PAGE, page(gfn));
      await engine.ksm.scan(2);
    }
    expect(engine.stats().frames).toEqual({ total: FRAMES, used: 16, free: 48 });
    for (const guest of guests) {
      expectPages(guest, 16, (gfn) => gfn);
    }
  });

  it("no frame: the numbers, every byte, and work again after merging", async () => {
    const guest = (await startSmall()).createGuest({ bytes: 2 * FRAMES * PAGE });
    await engine.ksm.set({ run: 0 });
    for (let gfn = 0; gfn < FRAMES; gfn++) guest.write(gfn * PAGE, page(gfn >>> 1));
    const vcpu = guest.vcpu();
    const error = expect.objectContaining({
      code: "PAGEFOLD_NO_FRAME",
      details: { guest: guest.id, frames: FRAMES, bytes: FRAMES * PAGE },
    });
    const at = 100 * PAGE;
    expect(() => guest.write(at, page(1))).toThrow(error);
    expect(() => guest.write(at + 1, Uint8Array.of(1))).toThrow(error);
    expect(() => guest.fill(at, 3 * PAGE, 1)).toThrow(error);
    expect(() => guest.pin(at, PAGE)).toThrow(error);
    expect(() => vcpu.store8(at, 1)).toThrow(error);
    expect(() => vcpu.run(() => vcpu.store32(at, 1))).toThrow(error);
    expect(isFilled(guest.read(at, 3 * PAGE), 0)).toBe(true);
    // Pages that have a frame are written as before.
    guest.write(0, Uint8Array.of(0));
    await engine.ksm.set({ run: 1 });
    await engine.ksm.scan(2);
    expect(engine.stats().frames.free).toBe(FRAMES / 2);
    expectPages(guest, FRAMES, (gfn) => gfn >>> 1);
    for (let gfn = 0; gfn < FRAMES / 2; gfn++)
      guest.write(at / 2 + (gfn + 15) * PAGE, page(500 + gfn));
    // Now a merged page cannot be copied: the write is refused, and the page is what it was.
    expect(() => guest.write(5 * PAGE, Uint8Array.of(9))).toThrow(error);
    expect(() => guest.pin(5 * PAGE, PAGE)).toThrow(error);
    expect(Buffer.compare(guest.read(5 * PAGE, PAGE), page(2))).toBe(0);
    expect(engine.stats().counters.ksm_ptes).toBe(FRAMES);
  });

  it("unmerging without enough frames: ENOMEM, run is 0, and again when there are some", async () => {
    const guest = (await startSmall()).createGuest({ bytes: FRAMES * PAGE });
    for (let gfn = 0; gfn < 60; gfn++) guest.write(gfn * PAGE, page(gfn % 4));
    await engine.ksm.scan(2);
    expect(engine.stats().frames.used).toBe(4);
    // Another holder of frames: a thread that takes them as a device would.
    const view = await attachHandle(engine.handle);
    const taken = Array.from({ length: 40 }, () => allocFrame(view, 0, guest.id, 63));
    await engine.ksm.set({ run: 0 });
    const enomem = expect.objectContaining({ code: "ENOMEM" });
    await expect(guest.unmergeable()).rejects.toThrow(enomem);
    await engine.ksm.set({ run: 1 });
    await expect(engine.ksm.set({ run: 2, maxPageSharing: 5 })).rejects.toThrow(enomem);
    expect(engine.ksm.knobs).toMatchObject({ run: 0, maxPageSharing: 256 });
    expectPages(guest, 60, (gfn) => gfn % 4);
    expect(engine.stats().counters.ksm_ptes).toBeGreaterThanOrEqual(40);
    for (const pfn of taken) putPage(view, pfn);
    await checkClean();
    await engine.ksm.set({ run: 2, maxPageSharing: 5 });
    expect(engine.ksm.knobs).toMatchObject({ run: 2, maxPageSharing: 5 });
    expect(engine.stats()).toMatchObject({ frames: { used: 60 }, counters: { ksm_ptes: 0 } });
    expectPages(guest, 60, (gfn) => gfn % 4);
  });

  it("settled: never after the first pass, and not while ksmd is stopped", async () => {
    const guest = (await start()).createGuest({ bytes: 8 * PAGE });
    await engine.ksm.set({ run: 0 });
    const refused = expect.objectContaining({ code: "PAGEFOLD_NOT_RUNNING" });
    await expect(engine.settled()).rejects.toThrow(refused);
    await expect(engine.ksm.scan(1)).rejects.toThrow(refused);
    await engine.ksm.set({ run: 2 });
    await expect(engine.settled({ ignoreVolatile: true })).rejects.toThrow(refused);
    for (let gfn = 0; gfn < 8; gfn++) guest.write(gfn * PAGE, page(gfn % 3));
    await engine.ksm.set({ run: 1 });
    await engine.settled();
    // Seen first, hashed and merged, nothing: the third pass is the first that may end it.
    const { counters } = engine.stats();
    expect(counters.full_scans).toBeGreaterThanOrEqual(3);
    expect(counters).toMatchObject({ pages_shared: 3, pages_sharing: 5, pages_volatile: 0 });
    expect(counters.pages_hashed).toBe(8);
    await engine.settled();
    expect(engine.stats().counters.pages_hashed).toBe(8);
  });

  it("scan: counters are those of the boundary", async () => {
    const guest = (await start({ ksm: { run: 0, sleepMillisecs: 0 } })).createGuest({
      bytes: 1000 * PAGE,
    });
    guest.fill(0, guest.bytes, 1);
    await engine.ksm.set({ run: 1 });
    for (let call = 0; call < 50; call++) {
      const { full_scans, pages_scanned } = await engine.ksm.scan(1 + (call % 3));
      expect(pages_scanned).toBe(1000 * full_scans);
    }
  });
});

describe("settled() without workers", () => {
  it("waits for a page that is written in every pass, unless told to ignore it", async () => {
    const engine = await createEngine({ workers: false, memoryPerNode: 2 ** 20, ksm: { run: 1 } });
    const guest = engine.createGuest({ bytes: 8 * PAGE });
    guest.fill(0, guest.bytes, 1);
    let writes = 0;
    engine.on("pass", () => {
      if (writes++ < 30) guest.write(3 * PAGE, Uint8Array.of(writes));
    });
    await engine.settled({ ignoreVolatile: true });
    expect(writes).toBe(3);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 6, pages_volatile: 1 });
    await engine.settled();
    // Written after pass 30 for the last time; hot in 31, placed in 32, quiet in 33.
    expect(writes).toBe(33);
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 6, pages_unshared: 1 });
    await engine.close();
  });
});
