/** Closing and giving up: nothing is left behind, and nobody waits for ever. */
import { execFile } from "node:child_process";
import { getEventListeners } from "node:events";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest } from "../../dist/index.js";

const PAGE = 4096;
const ACTS = new URL("./programs/acts.mjs", import.meta.url);
const LIFECYCLE = fileURLToPath(new URL("./programs/lifecycle.mjs", import.meta.url));

interface Seen {
  readonly seen: Record<string, unknown>;
  readonly resources: readonly string[];
  readonly handlers: readonly number[];
}

/** Runs a process that uses and closes an engine; it must end by itself, and say nothing but its own line. */
async function lifecycle(way: string): Promise<Seen> {
  const run = promisify(execFile)(process.execPath, [LIFECYCLE, way], { timeout: 30_000 });
  const { stdout, stderr } = await run;
  expect(stderr).toBe("");
  expect(stdout.split("\n")).toHaveLength(2);
  return JSON.parse(stdout);
}

const closed = "PAGEFOLD_CLOSED";
const crashed = "PAGEFOLD_CRASHED";
const WAYS: readonly (readonly [string, Record<string, unknown>])[] = [
  ["used", { shared: 1 }],
  ["pending", { rejected: Array(6).fill(closed) }],
  ["withoutWorkers", { rejected: Array(3).fill(closed) }],
  ["spinning", { rejected: [closed] }],
  ["policies", { rejected: [closed, closed] }],
  ["crashed", { rejected: [crashed, crashed] }],
  ["notClonable", { rejected: [25], ports: 0 }],
  ["abortedStart", { rejected: [20] }],
  ["disposed", { closed: 1 }],
];

describe("a closed engine", () => {
  it.each(WAYS)("leaves nothing behind: %s", async (way, expected) => {
    const { seen, resources, handlers } = await lifecycle(way);
    expect(seen).toMatchObject(expected);
    // Standard output is a pipe of the test's.
    expect(resources.filter((name) => !/Pipe|TTY|Immediate/.test(name))).toEqual([]);
    expect(handlers.every((more) => more === 0)).toBe(true);
    // A worker that hears nothing is ended by force, soon.
    if (way === "spinning") expect(seen.seconds).toBeLessThan(10);
  });

  it("refuses guests, and its guests refuse accesses", async () => {
    const engine = await createEngine({ nodes: 1, memoryPerNode: 2 ** 20 });
    const guest = engine.createGuest({ bytes: PAGE });
    const vcpu = guest.vcpu();
    vcpu.close();
    vcpu.close();
    for (const access of [() => vcpu.load8(0), () => vcpu.run(() => {}), () => vcpu.read(0, 1)]) {
      expect(access).toThrow(expect.objectContaining({ code: closed }));
    }
    await Promise.all([engine.close(), engine.close()]);
    expect(() => engine.createGuest({ bytes: PAGE })).toThrow(
      expect.objectContaining({ code: closed }),
    );
  });
});

type Call = (engine: Engine, guest: EngineGuest, signal: AbortSignal) => Promise<unknown>;

/** Every await of an engine that there is. */
const CALLS: Record<string, Call> = {
  "ksm.set": (engine, _guest, signal) => engine.ksm.set({ pagesToScan: 5 }, { signal }),
  "ksm.scan": (engine, _guest, signal) => engine.ksm.scan(1e9, { signal }),
  settled: (engine, _guest, signal) => engine.settled({ signal }),
  check: (engine, _guest, signal) => engine.check({ signal }),
  report: (engine, _guest, signal) => engine.report({ signal }),
  "guest.run": (_engine, guest, signal) => guest.run(ACTS, { act: "wait" }, { signal }),
  mergeable: (_engine, guest, signal) => guest.mergeable(0, PAGE, { signal }),
  unmergeable: (_engine, guest, signal) => guest.unmergeable(0, PAGE, { signal }),
};

describe("AbortSignal", () => {
  it.each([true, false])("ends every call that waits (workers: %s)", async (workers) => {
    const engine = await createEngine({
      ...{ workers, nodes: 1, memoryPerNode: 2 ** 20 },
      ksm: { run: 1, pagesToScan: 0 },
    });
    const guest = engine.createGuest({ bytes: PAGE });
    for (const [name, call] of Object.entries(CALLS)) {
      const reason = new Error(`no more ${name}`);
      await expect(call(engine, guest, AbortSignal.abort(reason)), name).rejects.toBe(reason);
      // Without workers all calls but a program's are over when they return.
      if (!workers && name !== "guest.run") continue;
      const abort = new AbortController();
      const pending = call(engine, guest, abort.signal);
      abort.abort(reason);
      await expect(pending, name).rejects.toBe(reason);
      expect(getEventListeners(abort.signal, "abort"), name).toHaveLength(0);
    }
    // Calls without a signal, and with one that is not aborted, go on as if nothing had been.
    const { signal } = new AbortController();
    // What was given up may have been done all the same.
    await guest.mergeable();
    guest.fill(0, PAGE, 1);
    await engine.ksm.set({ pagesToScan: 100, sleepMillisecs: 0 }, { signal });
    expect((await engine.ksm.scan(2, { signal })).pages_unshared).toBe(1);
    await engine.settled({ signal });
    expect((await engine.check({ signal })).clean).toBe(true);
    expect(getEventListeners(signal, "abort")).toHaveLength(0);
    await engine.close();
  });

  it.each([true, false])("of createEngine closes the engine (workers: %s)", async (workers) => {
    const reason = new Error("enough");
    const options = { workers, nodes: 1, memoryPerNode: 2 ** 20 };
    await expect(createEngine({ ...options, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    const starting = new AbortController();
    const start = createEngine({ ...options, signal: starting.signal });
    starting.abort(reason);
    await expect(start).rejects.toBe(reason);

    const running = new AbortController();
    const engine = await createEngine({ ...options, signal: running.signal });
    const closing = new Promise<void>((resolve) => engine.once("close", resolve));
    const guest = engine.createGuest({ bytes: PAGE });
    const pending = guest.run(ACTS, { act: "wait" });
    running.abort(reason);
    await expect(pending).rejects.toThrow(expect.objectContaining({ code: closed }));
    await closing;
    await expect(engine.check()).rejects.toThrow(expect.objectContaining({ code: closed }));

    // An engine that is closed before leaves no listener on a signal that lives on.
    const longLived = new AbortController();
    const other = await createEngine({ ...options, signal: longLived.signal });
    await other.close();
    expect(getEventListeners(longLived.signal, "abort")).toHaveLength(0);
  });
});
