/**
 * merging - ksmd at work for a run: until nothing changes any more, or for as long as was asked for.
 *
 * Flat out, ksmd runs with pages_to_scan 0 and does exactly the passes that are asked of it, one by one.
 */
import { on } from "node:events";
import type { Engine, Knobs } from "../index.js";
import type { RunOptions } from "./options.js";

/** ksmd sleeps until it is asked for a pass. */
const IDLE_MS = 2 ** 31 - 1;

export interface Merged {
  settled: boolean;
  first_pass_seconds: number | null;
  merge_pass_seconds: number | null;
  settle_seconds: number | null;
}

/** Fills in `merged` as it goes, so that what is known outlives an interruption. */
export async function merge(
  engine: Engine,
  options: RunOptions,
  merged: Merged,
  signal: AbortSignal,
): Promise<void> {
  const limit = limited(signal, options.seconds);
  try {
    await doPasses(engine, options, merged, limit.signal);
  } catch (error) {
    // Out of time is an end like others.
    if (signal.aborted || !limit.signal.aborted) throw error;
  } finally {
    limit.clear();
  }
}

/** A signal that is aborted with `signal`, and after `seconds`. */
function limited(
  signal: AbortSignal,
  seconds: number | null,
): { readonly signal: AbortSignal; clear(): void } {
  const controller = new AbortController();
  const abort = (): void => controller.abort(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  if (signal.aborted) abort();
  const timer = seconds === null ? null : setTimeout(() => controller.abort(), seconds * 1000);
  const clear = (): void => {
    signal.removeEventListener("abort", abort);
    if (timer !== null) clearTimeout(timer);
  };
  return { signal: controller.signal, clear };
}

/** Scans until settled, or as many passes as asked for. */
async function doPasses(
  engine: Engine,
  options: RunOptions,
  merged: Merged,
  signal: AbortSignal,
): Promise<void> {
  const { passes } = options;
  const started = performance.now();
  const secondsSince = (then: number): number => (performance.now() - then) / 1000;
  const scanning = startScanning(engine, options, signal);
  const settled = engine.settled({ signal }).then(() => {
    merged.settled = true;
    merged.settle_seconds = secondsSince(started);
  });
  // With a number of passes, being settled ends nothing; but if that fails, so does the loop.
  const end = passes === null ? settled : settled.then(() => new Promise<never>(() => {}));
  // Nobody may be waiting when it fails.
  end.catch(() => {});
  let before = started;
  try {
    for (let pass = 1; passes === null ? !merged.settled : pass <= passes; pass++) {
      await Promise.race([scanning.nextPass(), end]);
      if (pass === 1) merged.first_pass_seconds = secondsSince(before);
      if (pass === 2) merged.merge_pass_seconds = secondsSince(before);
      before = performance.now();
    }
  } finally {
    await scanning.end();
  }
}

interface Scanning {
  /** Resolves when a pass has ended. */
  nextPass(): Promise<unknown>;
  end(): Promise<unknown>;
}

/**
 * Sets run to 1. Messages to ksmd keep their order, so nobody waits for it: what is asked of ksmd next
 * finds it running.
 */
function startScanning(
  engine: Engine,
  { pagesToScan, sleepMillisecs }: RunOptions,
  signal: AbortSignal,
): Scanning {
  const set = (knobs: Partial<Knobs>): void => {
    // If it fails, so does what is asked next.
    engine.ksm.set({ run: 1, ...knobs }, { signal }).catch(() => {});
  };
  if (sleepMillisecs === 0) {
    set({ pagesToScan: 0, sleepMillisecs: IDLE_MS });
    return { nextPass: () => engine.ksm.scan(1, { signal }), end: async () => {} };
  }
  const passEnds = on(engine, "pass", { signal });
  set({ sleepMillisecs, pagesToScan });
  return { nextPass: () => passEnds.next(), end: async () => passEnds.return?.() };
}
