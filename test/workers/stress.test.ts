/**
 * The engine's promise: two threads write guest memory while ksmd merges it behind them, and no byte is lost.
 */
import { describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest } from "../../dist/index.js";
import { PAGE, verifyAll, type Writing, type Written, write } from "./writing.js";

const ENOUGH = 10_000;

interface Plan extends Writing {
  readonly title: string;
  /** Whether frames move from node to node meanwhile. */
  readonly moving: boolean;
}

const TWO = { guests: [0, 1], pages: 1024, shared: 0, enough: ENOUGH } as const;
const ONE = { guests: [0, 0], pages: 1024, shared: 96, enough: ENOUGH } as const;
const PLANS: readonly Plan[] = [
  { title: "on two guests", ...TWO, moving: false },
  { title: "on one guest, some pages written by both", ...ONE, moving: false },
  { title: "on two guests whose frames move", ...TWO, moving: true },
  { title: "on one guest whose frames move", ...ONE, moving: true },
];

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
      engine.createGuest({ bytes: plan.pages * PAGE }),
    );
    const done = new AbortController();
    const moving = plan.moving ? move(engine, guests, done.signal) : Promise.resolve(0);
    const written = await write(engine, plan);
    done.abort();
    expect((await moving) > 1000).toBe(plan.moving);
    await engine.ksm.set({ run: 0 });
    const { counters } = engine.stats();
    const [first, second] = written as [Written, Written];
    const verify = (): void => verifyAll(guests, plan, written);
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
