/** Threads that stay in a section: ksmd gets no answer, or gets one and finds the page written again. */
import type { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest } from "../../dist/index.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";

const PAGE = 4096;

interface Step {
  readonly step: string;
  readonly vcpu: number;
  readonly thread: number;
}

/** A thread in a section of the guest that does its steps when told to. */
class Dweller {
  readonly #worker: Worker;
  readonly #flag = new Int32Array(new SharedArrayBuffer(4));

  constructor(engine: Engine, guest: EngineGuest, steps: readonly string[], at = 0) {
    const { handle } = engine;
    const data = { handle, guest: guest.id, flag: this.#flag, steps, at };
    this.#worker = startWorker("section", data);
  }

  /** Resolves when the first step has begun. */
  begun(): Promise<Step> {
    return nextMessage<Step>(this.#worker);
  }

  /** Ends the step; resolves when the next has begun, or when it has left. */
  next<T = Step>(): Promise<T> {
    const message = nextMessage<T>(this.#worker);
    Atomics.add(this.#flag, 0, 1);
    return message;
  }

  async left(): Promise<{ last: number; found: number }> {
    const result = await this.next<{ last: number; found: number }>();
    await ended(this.#worker);
    return result;
  }
}

describe("a vCPU that reaches no safepoint", () => {
  it("costs merges in its guest alone, loses nothing, and is named", async () => {
    const engine = await createEngine({
      ...{ nodes: 1, memoryPerNode: 4 * 2 ** 20, scanTimeout: 20, faultTimeout: 200 },
      ksm: { run: 1, sleepMillisecs: 0 },
    });
    const held = engine.createGuest({ bytes: 64 * PAGE });
    const free = engine.createGuest({ bytes: 64 * PAGE });
    held.fill(0, 8 * PAGE, 1);
    await engine.ksm.scan(2);
    expect(engine.stats()).toMatchObject({ skippedGuests: 0, stuckVcpu: null });
    expect(engine.stats().counters).toMatchObject({ pages_shared: 1, pages_sharing: 7 });

    const dweller = new Dweller(engine, held, ["hold", "poll"]);
    const { vcpu, thread } = await dweller.begun();
    held.fill(8 * PAGE, 8 * PAGE, 2);
    free.fill(0, 32 * PAGE, 3);
    await engine.ksm.scan(3);
    const stuck = engine.stats();
    expect(stuck.stuckVcpu).toEqual({ vcpu, guest: held.id, thread });
    expect(stuck.skippedGuests).toBeGreaterThanOrEqual(3);
    expect(stuck.counters).toMatchObject({ pages_shared: 2, pages_sharing: 7 + 31 });

    // The guest goes on: reads, writes to pages of its own, and new pages. A copy of a merged one cannot
    // be made while that vCPU might still read the old frame; the write is refused and nothing changes.
    held.write(8 * PAGE, Uint8Array.of(9));
    held.write(40 * PAGE, Uint8Array.of(9));
    expect(() => held.write(PAGE, Uint8Array.of(9))).toThrow(
      expect.objectContaining({
        code: "PAGEFOLD_VCPU_STUCK",
        details: { guest: held.id, faultMs: 200 },
      }),
    );
    expect(held.read(PAGE, 2)).toEqual(Uint8Array.of(1, 1));
    expect(held.read(8 * PAGE, 2)).toEqual(Uint8Array.of(9, 2));

    await dweller.next();
    held.write(PAGE, Uint8Array.of(9));
    // A pass that leaves a guest out is not a settled one.
    await engine.settled();
    expect(engine.stats().counters).toMatchObject({ pages_shared: 3, pages_sharing: 6 + 6 + 31 });
    expect(await dweller.left()).toEqual({ step: "left", last: 0, found: 0x01010101 });
    await engine.ksm.set({ run: 0 });
    expect(held.read(PAGE, 2)).toEqual(Uint8Array.of(9, 1));
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });

  it("keeps unmerging from ending: run is 0, and the call may be repeated", async () => {
    const engine = await createEngine({
      ...{ nodes: 1, memoryPerNode: 4 * 2 ** 20, faultTimeout: 20, ksm: { run: 1 } },
    });
    const guest = engine.createGuest({ bytes: 16 * PAGE });
    guest.fill(0, guest.bytes, 1);
    await engine.ksm.scan(2);
    const dweller = new Dweller(engine, guest, ["hold"]);
    await dweller.begun();
    const code = "PAGEFOLD_VCPU_STUCK";
    await expect(engine.ksm.set({ run: 2 })).rejects.toThrow(expect.objectContaining({ code }));
    expect(engine.ksm.knobs.run).toBe(0);
    await expect(guest.unmergeable()).rejects.toThrow(expect.objectContaining({ code }));
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 15, ksm_ptes: 16 });
    await dweller.left();
    await engine.ksm.set({ run: 2 });
    expect(engine.stats().counters).toMatchObject({ pages_sharing: 0, ksm_ptes: 0 });
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });
});

describe("settled()", () => {
  it("stays pending while a page is written in every pass, unless volatile pages are ignored", async () => {
    const engine = await createEngine({
      // The writer answers each harvest with its next store, which marks the page as written again.
      ...{ nodes: 1, memoryPerNode: 4 * 2 ** 20, scanTimeout: 100_000 },
      ksm: { run: 1, sleepMillisecs: 0 },
    });
    const guest = engine.createGuest({ bytes: 64 * PAGE });
    guest.fill(0, guest.bytes, 1);
    const at = 5 * PAGE + 4;
    const dweller = new Dweller(engine, guest, ["write"], at);
    await dweller.begun();
    let settled = false;
    const whole = engine.settled().then(() => {
      settled = true;
    });
    await engine.settled({ ignoreVolatile: true });
    const { counters } = engine.stats();
    expect(counters).toMatchObject({ pages_shared: 1, pages_sharing: 62, pages_volatile: 1 });
    await engine.ksm.scan(200);
    expect(settled).toBe(false);
    const { last, found } = await dweller.left();
    expect(found).toBe(last);
    await whole;
    expect(engine.stats().counters).toMatchObject({ pages_unshared: 1, pages_volatile: 0 });
    await engine.close();
  });
});

describe("a vCPU that only hits", () => {
  it("answers a sibling's copy of another page, because its next access misses", async () => {
    const engine = await createEngine({
      ...{ nodes: 1, memoryPerNode: 2 ** 20, ksm: { run: 1, pagesToScan: 0 } },
    });
    const guest = engine.createGuest({ bytes: 8 * PAGE });
    guest.fill(4 * PAGE, 4 * PAGE, 7);
    expect((await engine.ksm.scan(2)).pages_sharing).toBe(3);
    const running = guest.run(new URL("./programs/hits.mjs", import.meta.url), { flag: 0 });
    while (guest.read(0, 1)[0] !== 1) await new Promise((resolve) => setImmediate(resolve));
    for (let page = 4; page < 8; page++) guest.write(page * PAGE, Uint8Array.of(page));
    expect(engine.stats().counters.cow_ksm).toBe(4);
    guest.write(0, Uint8Array.of(2));
    expect(await running).toBeGreaterThan(0);
    await engine.close();
  });
});
