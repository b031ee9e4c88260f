/** Without workers: the same options and calls give the same counters and the same frames, every time. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createEngine, type EngineOptions, type Pin } from "../../src/index.js";
import { PAGE, pageOf, ptesOf, viewOf } from "./view.js";

const GUESTS = 3;
const PAGES = 24;

const call = fc.record({
  kind: fc.constantFrom(
    ...(["write", "write", "page", "page", "page", "scan", "batch", "pin", "unpin"] as const),
    ...(["unmerge", "unmergeable", "mergeable", "limit", "settled"] as const),
  ),
  guest: fc.nat(GUESTS - 1),
  gfn: fc.nat(PAGES - 1),
  value: fc.nat(5),
});
type Call = typeof call extends fc.Arbitrary<infer T> ? T : never;

interface Outcome {
  readonly stats: unknown;
  readonly ptes: readonly number[];
  /** A digest of every guest's bytes. */
  readonly bytes: string;
}

/** Plays the calls on a fresh engine; after each, what can be seen of it. */
async function play(options: EngineOptions, calls: readonly Call[]): Promise<Outcome[]> {
  const engine = await createEngine({
    ...{ workers: false, nodes: 2, memoryPerNode: 128 * 1024, maxGuests: GUESTS },
    ksm: { run: 1, maxPageSharing: 4 },
    ...options,
  });
  const view = await viewOf(engine);
  for (let guest = 0; guest < GUESTS; guest++) engine.createGuest({ bytes: PAGES * PAGE });
  const pins: Pin[] = [];
  const outcomes: Outcome[] = [];
  for (const { kind, guest: id, gfn, value } of calls) {
    const guest = engine.guests[id];
    const length = PAGE * Math.min(value + 1, PAGES - gfn);
    if (kind === "write") guest.write(gfn * PAGE + value, Uint8Array.of(value));
    if (kind === "page") guest.write(gfn * PAGE, pageOf(value));
    if (kind === "scan") engine.ksm.scanSync(1 + (value & 1));
    if (kind === "batch") await engine.ksm.set({ run: 0, pagesToScan: 1 + value });
    if (kind === "pin" && pins.length < 6) pins.push(guest.pin(gfn * PAGE, length));
    if (kind === "unpin") pins.shift()?.release();
    if (kind === "unmerge") await engine.ksm.set({ run: 2 });
    if (kind === "limit") await engine.ksm.set({ run: 2, maxPageSharing: 2 + value });
    if (kind === "unmergeable") await guest.unmergeable(gfn * PAGE, length);
    if (kind === "mergeable") await guest.mergeable(gfn * PAGE, length);
    if (kind === "settled") await engine.settled();
    await engine.ksm.set({ run: 1 });
    const { busyMs: _time, ...stats } = engine.stats();
    const digest = createHash("sha1");
    for (const each of engine.guests) digest.update(each.read(0, each.bytes));
    outcomes.push({ stats, ptes: ptesOf(view, engine), bytes: digest.digest("hex") });
  }
  for (const pin of pins) pin.release();
  expect((await engine.check()).problems).toEqual([]);
  await engine.close();
  return outcomes;
}

describe("the engine without workers", () => {
  const calls = fc.array(call, { minLength: 10, maxLength: 60, size: "max" });

  it("does the same twice, though its seed is drawn at random", async () => {
    await fc.assert(
      fc.asyncProperty(calls, async (all) => {
        expect(await play({}, all)).toEqual(await play({}, all));
      }),
      { numRuns: 15 },
    );
  });

  it("does the same twice with one seed, and hashes that collide", async () => {
    await fc.assert(
      fc.asyncProperty(calls, async (all) => {
        const options = { seed: 2 ** 40 + 7, hashBits: 2 };
        expect(await play(options, all)).toEqual(await play(options, all));
      }),
      { numRuns: 15 },
    );
  });

  it("does the same with any kernels", async () => {
    await fc.assert(
      fc.asyncProperty(calls, async (all) => {
        const simd = await play({ kernels: "simd" }, all);
        for (const kernels of ["scalar", "typescript", "xxhash-wasm"] as const) {
          expect(await play({ kernels }, all)).toEqual(simd);
        }
      }),
      { numRuns: 5 },
    );
  });
});
