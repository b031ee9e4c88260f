/** Workers that die, at whatever moment: everybody who waits is told, and nobody waits for the dead. */
import { once } from "node:events";
import { describe, expect, it } from "vitest";
import { SHARD_NEXT_NODE } from "../../dist/base/layout.js";
import {
  createEngine,
  type Engine,
  type EngineGuest,
  type PagefoldError,
} from "../../dist/index.js";
import { attachHandle } from "../../dist/machine/handle.js";

const PAGE = 4096;
const ACTS = new URL("./programs/acts.mjs", import.meta.url);

/** Resolves with the code the call rejects with, and the message of its cause. */
async function outcome(call: Promise<unknown>): Promise<{ code: string; cause: string }> {
  try {
    await call;
    return { code: "resolved", cause: "" };
  } catch (error) {
    const { code, cause } = error as PagefoldError;
    return { code, cause: cause instanceof Error ? cause.message : String(cause) };
  }
}

interface Scene {
  readonly engine: Engine;
  readonly victim: EngineGuest;
  /** Every kind of call that waits. */
  readonly waiting: Promise<unknown>[];
}

/** Two nodes, a merged guest on the one whose worker is to die, and calls that wait. */
async function stage(): Promise<Scene> {
  const engine = await createEngine({
    ...{ nodes: 2, memoryPerNode: 2 ** 20, faultTimeout: 100_000 },
    ksm: { run: 1, sleepMillisecs: 0 },
  });
  const victim = engine.createGuest({ bytes: 8 * PAGE, node: 0 });
  victim.fill(0, victim.bytes, 7);
  await engine.ksm.scan(2);
  expect(engine.stats().counters.pages_sharing).toBe(7);
  await engine.ksm.set({ pagesToScan: 0 });
  const wait = { act: "wait" };
  const bystander = engine.createGuest({ bytes: PAGE, node: 1, program: ACTS, args: wait });
  const waiting = [
    engine.settled(),
    bystander.finished,
    bystander.run(ACTS, wait),
    victim.run(ACTS, wait),
  ];
  return { engine, victim, waiting };
}

const DEATHS: readonly { readonly act: string; readonly cause: RegExp }[] = [
  { act: "exit", cause: /exit/ },
  { act: "exitInSection", cause: /exit/ },
  { act: "uncaught", cause: /nobody caught this/ },
  { act: "unhandled", cause: /nobody handled this/ },
];

describe("a node worker dies", () => {
  it.each(DEATHS)("of a program's $act: pending calls reject with the cause", async (death) => {
    const { engine, victim, waiting } = await stage();
    const crashed = once(engine, "crash") as Promise<[PagefoldError]>;
    const all = [victim.run(ACTS, { act: death.act }), ...waiting].map(outcome);
    for (const { code, cause } of await Promise.all(all)) {
      expect(code).toBe("PAGEFOLD_CRASHED");
      expect(cause).toMatch(death.cause);
    }
    const [error] = await crashed;
    expect(error).toMatchObject({ code: "PAGEFOLD_CRASHED", details: { actor: "node 0" } });
    expect(error.message).toMatch(/^node 0 died: /);
    for (const call of [engine.check(), engine.ksm.set({ run: 0 }), engine.ksm.scan(1)]) {
      expect((await outcome(call)).code).toBe("PAGEFOLD_CRASHED");
    }
    await engine.close();
  });

  it("inside a section: its vCPU counts as outside guest mode from then on", async () => {
    const { engine, victim, waiting } = await stage();
    const all = [victim.run(ACTS, { act: "exitInSection" }), ...waiting];
    await Promise.all(all.map(outcome));
    // A write to a merged page shoots down every vCPU of the guest; the dead one is not waited for.
    const started = performance.now();
    victim.write(3 * PAGE, Uint8Array.of(1));
    expect(performance.now() - started).toBeLessThan(10_000);
    const bytes = victim.read(0, victim.bytes);
    expect([bytes[0], bytes[3 * PAGE], bytes[5 * PAGE]]).toEqual([1, 1, 7]);
    expect(engine.stats().counters.ksm_ptes).toBe(6);
    await engine.close();
  });
});

describe("ksmd dies", () => {
  it("of a broken invariant: pending calls reject with it", async () => {
    const engine = await createEngine({ nodes: 1, memoryPerNode: 2 ** 20 });
    const guest = engine.createGuest({ bytes: 4 * PAGE });
    guest.fill(0, guest.bytes, 7);
    const { control, layout, sizes } = await attachHandle(engine.handle);
    control[layout.shards + SHARD_NEXT_NODE] = sizes.stableNodes;
    const crashed = once(engine, "crash");
    // It dies in its second pass, so perhaps before this call's answer arrives.
    const start = outcome(engine.ksm.set({ run: 1, sleepMillisecs: 0 }));
    const waiting = [engine.ksm.scan(1e9), engine.settled(), guest.run(ACTS, { act: "wait" })];
    for (const { code, cause } of await Promise.all(waiting.map(outcome))) {
      expect(code).toBe("PAGEFOLD_CRASHED");
      expect(cause).toMatch(/STABLE-1/);
    }
    expect(["resolved", "PAGEFOLD_CRASHED"]).toContain((await start).code);
    expect(await crashed).toMatchObject([{ details: { actor: "ksmd" } }]);
    expect(guest.read(0, guest.bytes).every((byte) => byte === 7)).toBe(true);
    await engine.close();
  });
});
