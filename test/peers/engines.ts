/**
 * engines - every kind of engine that must give the kernel's counters: with and without workers, with
 * every implementation of the kernels, and with hashes so short that most contents collide.
 */
import { describe } from "vitest";
import { type Counters, createEngine, type Engine, type EngineOptions } from "../../dist/index.js";

export const PAGE = 4096;

export interface Kind {
  readonly title: string;
  readonly options: EngineOptions;
}

const KINDS: readonly Kind[] = [
  { title: "without workers", options: { workers: false } },
  { title: "without workers, 4-bit hashes", options: { workers: false, hashBits: 4 } },
  { title: "without workers, kernels scalar", options: { workers: false, kernels: "scalar" } },
  {
    title: "without workers, kernels typescript",
    options: { workers: false, kernels: "typescript" },
  },
  {
    title: "without workers, kernels xxhash-wasm",
    options: { workers: false, kernels: "xxhash-wasm" },
  },
  { title: "with workers", options: { workers: true, nodes: 2 } },
  { title: "with workers, 4-bit hashes", options: { workers: true, nodes: 2, hashBits: 4 } },
];

/** A suite for each kind of engine. */
export function describeEngines(name: string, suite: (kind: Kind) => void): void {
  describe.each(KINDS)(`${name} ($title)`, (kind) => suite(kind));
}

/** Runs `body` with an engine of the kind; afterwards its audit must be clean. */
export async function withEngine<T>(
  kind: Kind,
  more: EngineOptions,
  body: (engine: Engine) => Promise<T>,
): Promise<T> {
  const engine = await createEngine({ memoryPerNode: 16 * 2 ** 20, ...kind.options, ...more });
  try {
    const value = await body(engine);
    const { problems } = await engine.check();
    if (problems.length > 0) throw new Error(`check():\n${problems.join("\n")}`);
    return value;
  } finally {
    await engine.close();
  }
}

/** The scenarios' merge step: run = 1, two full scans; the counters are read with ksmd stopped. */
export async function mergeStep(engine: Engine, scans = 2): Promise<Counters> {
  await engine.ksm.set({ run: 1 });
  await engine.ksm.scan(scans);
  await engine.ksm.set({ run: 0 });
  return engine.stats().counters;
}

/** What every scenario of the selftests begins with. */
export async function prepare(engine: Engine, maxPageSharing = 256): Promise<void> {
  await engine.ksm.set({ run: 2 });
  await engine.ksm.set({ sleepMillisecs: 0, pagesToScan: 10, maxPageSharing });
}

/** The code of the error that the call ends with; null: it did not fail. */
export async function codeOf(call: () => unknown): Promise<string | null> {
  try {
    await call();
    return null;
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

/** The counters that the scenarios assert, under the kernel's short names. */
export function pages(counters: Counters): number[] {
  const { pages_shared, pages_sharing, pages_volatile, pages_unshared } = counters;
  return [pages_shared, pages_sharing, pages_volatile, pages_unshared];
}
