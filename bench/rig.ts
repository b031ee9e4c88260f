/**
 * rig - what every measurement of pagefold runs in: an engine with its workers, one guest that holds the
 * pages of a mix, and a vCPU of that guest alive in another thread. At the end every byte is read back and
 * the engine audited; what is measured without a clean end is void.
 */
import { Worker } from "node:worker_threads";
import { createEngine, type Engine, type EngineGuest, type EngineOptions } from "../dist/index.js";
import { collectGarbage } from "./garbage.js";
import type { VcpuAnswer, VcpuCall, VcpuTask } from "./vcpu-worker.js";

export interface Rig {
  readonly engine: Engine;
  readonly guest: EngineGuest;
  /** Writes one page in a hundred, through the vCPU; another salt, others. */
  dirty(salt: number): Promise<void>;
}

export interface Rigged<T> {
  readonly value: T;
  /** What was wrong; empty: the measurement counts. */
  readonly problems: readonly string[];
}

/**
 * Fills a guest with `source` in an engine of shipped defaults (but for `options`), runs `body`, verifies.
 * ksmd is stopped at first; `body` may leave problems of its own.
 */
export async function withRig<T>(
  source: SharedArrayBuffer,
  options: EngineOptions,
  body: (rig: Rig, problems: string[]) => Promise<T>,
): Promise<Rigged<T>> {
  const engine = await createEngine(options);
  try {
    const guest = engine.createGuest({ bytes: source.byteLength });
    const vcpu = new VcpuThread({ handle: engine.handle, guest: guest.id, source });
    try {
      await vcpu.call({ kind: "fill" });
      const problems: string[] = [];
      const dirty = async (salt: number): Promise<void> => {
        await vcpu.call({ kind: "dirty", salt });
      };
      const value = await body({ engine, guest, dirty }, problems);
      problems.push(...(await audit(engine, vcpu)));
      return { value, problems };
    } finally {
      await vcpu.close();
    }
  } finally {
    await engine.close();
    collectGarbage();
  }
}

async function audit(engine: Engine, vcpu: VcpuThread): Promise<string[]> {
  const problems: string[] = [];
  const { mismatches, sections } = await vcpu.call({ kind: "verify" });
  if (sections === 0) problems.push("the vCPU of the other thread was not alive");
  if (mismatches > 0) problems.push(`${mismatches} pages are not as they were written`);
  const report = await engine.check();
  problems.push(...report.problems.map((problem) => `check(): ${problem}`));
  return problems;
}

/** The other thread. */
class VcpuThread {
  readonly #worker: Worker;
  readonly #ended: Promise<unknown>;
  #settle: { resolve(answer: VcpuAnswer): void; reject(error: unknown): void } | null = null;

  constructor(task: VcpuTask) {
    // Beside the bundle of this file (bench.mjs).
    this.#worker = new Worker(new URL("./vcpu-worker.js", import.meta.url), { workerData: task });
    this.#ended = new Promise((resolve) => this.#worker.once("exit", resolve));
    this.#ended.then(() => this.#settle?.reject(new Error("the vCPU's thread has ended")));
    this.#worker.on("message", (answer: VcpuAnswer) => this.#settle?.resolve(answer));
    this.#worker.on("error", (error) => this.#settle?.reject(error));
  }

  call(call: VcpuCall): Promise<VcpuAnswer> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      if (this.#worker.threadId === -1) reject(new Error("the vCPU's thread has ended"));
      this.#worker.postMessage(call);
    });
  }

  async close(): Promise<void> {
    this.#worker.postMessage({ kind: "close" } satisfies VcpuCall);
    await this.#ended;
  }
}
