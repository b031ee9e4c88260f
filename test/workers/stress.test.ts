/**
 * The engine's promise: two threads write guest memory while ksmd merges it behind them, and no byte is lost.
 */
import { describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest } from "../../dist/index.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";
// @ts-expect-error: plain JavaScript, because the writers run it in threads of their own
import * as cells from "./programs/cells.mjs";

const PAGES = 1024;
const ENOUGH = 10_000;

interface Written {
  readonly versions: Uint32Array;
  readonly verified: number;
  readonly turns: number;
}

interface Plan {
  readonly title: string;
  /** For each thread its guest. */
  readonly guests: readonly [number, number];
  /** Pages of which each thread writes a half. */
  readonly shared: number;
  /** Whether frames move from node to node meanwhile. */
  readonly moving: boolean;
}

const PLANS: readonly Plan[] = [
  { title: "on two guests", guests: [0, 1], shared: 0, moving: false },
  { title: "on one guest, some pages written by both", guests: [0, 0], shared: 96, moving: false },
  { title: "on two guests whose frames move", guests: [0, 1], shared: 0, moving: true },
  { title: "on one guest whose frames move", guests: [0, 0], shared: 96, moving: true },
];

/** Reads every page again, through the main thread's vCPU. */
function verifyAll(guest: EngineGuest, threads: number, shared: number, written: Written[]): void {
  written.forEach(({ versions }, thread) => {
    const all = cells.cellsOf(thread, threads, PAGES, shared);
    let wrong = 0;
    all.forEach((cell: { gfn: number; from: number; length: number }, at: number) => {
      const found = guest.read(cell.gfn * cells.PAGE + cell.from, cell.length);
      const expected: Uint8Array = cells.bytesOf(guest.id, cell, versions[at]);
      if (Buffer.compare(found, expected) !== 0) wrong++;
    });
    expect(wrong, `wrong cells of thread ${thread} of guest ${guest.id}`).toBe(0);
  });
}

/** Rejects after a minute, ten times what it takes, with what the engine says of itself. */
function stalled(engine: Engine, done: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`no end in sight: ${JSON.stringify(engine.stats())}`));
    }, 60_000);
    done.addEventListener("abort", () => clearTimeout(timer), { once: true });
  });
}

async function write(engine: Engine, plan: Plan): Promise<Written[]> {
  const alone = plan.guests[0] !== plan.guests[1];
  const workers = plan.guests.map((guest, thread) =>
    startWorker("writer", {
      ...{ handle: engine.handle, guest, pages: PAGES, shared: plan.shared, enough: ENOUGH },
      ...(alone ? { thread: 0, threads: 1 } : { thread, threads: 2 }),
    }),
  );
  const crashed = new Promise<never>((_, reject) => engine.once("crash", reject));
  const messages = Promise.all(workers.map((worker) => nextMessage<Written>(worker)));
  const stall = new AbortController();
  const written = await Promise.race([messages, crashed, stalled(engine, stall.signal)]);
  stall.abort();
  await Promise.all(workers.map(ended));
  return written;
}

/** Moves every frame of the guests from node to node until `done`; returns how many moves succeeded. */
async function move(
  engine: Engine,
  guests: readonly EngineGuest[],
  done: AbortSignal,
): Promise<number> {
  let moved = 0;
  for (let turn = 0; !done.aborted; turn++) {
    const guest = guests[turn % guests.length] as EngineGuest;
    const { succeeded } = await engine.migrate({ guest, to: (turn >> 1) % 2 });
    moved += succeeded;
    // Messages of the writers have their turn.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return moved;
}

describe("two threads write while ksmd merges", () => {
  it.each(PLANS)("$title: 10,000 merges, 10,000 copies, every byte kept", async (plan) => {
    const engine = await createEngine({
      ...{ nodes: plan.moving ? 2 : 1, migrators: plan.moving ? 1 : 0 },
      ...{ memoryPerNode: 32 * 2 ** 20, maxGuests: 2 },
      ksm: { run: 1, sleepMillisecs: 0, pagesToScan: 512, maxPageSharing: 16 },
    });
    const guests = [...new Set(plan.guests)].map(() =>
      engine.createGuest({ bytes: PAGES * cells.PAGE }),
    );
    const done = new AbortController();
    const moving = plan.moving ? move(engine, guests, done.signal) : Promise.resolve(0);
    const written = await write(engine, plan);
    done.abort();
    expect((await moving) > 1000).toBe(plan.moving);
    await engine.ksm.set({ run: 0 });
    const { counters } = engine.stats();
    const [first, second] = written;
    const verify = (): void => {
      if (guests.length === 1) verifyAll(guests[0], 2, plan.shared, written);
      else verifyAll(guests[0], 1, plan.shared, [first]);
      if (guests.length === 2) verifyAll(guests[1], 1, plan.shared, [second]);
    };
    verify();
    expect(counters.pages_merged).toBeGreaterThanOrEqual(ENOUGH);
    expect(counters.cow_ksm).toBeGreaterThanOrEqual(ENOUGH);
    expect(Math.min(first.turns, second.turns)).toBeGreaterThan(0);
    expect((await engine.check()).problems).toEqual([]);
    await engine.ksm.set({ run: 1 });
    await engine.settled();
    verify();
    await engine.ksm.set({ run: 2 });
    verify();
    expect(engine.stats().counters.ksm_ptes).toBe(0);
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });
});
