/**
 * handle - what a thread needs to join an engine, and joining.
 *
 * OWNS    engine.threads
 * ORDER   threads.claim <-> threads.count
 */
import { addWord, loadWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import { ENGINE_THREADS } from "../base/layout.js";
import { attachMemory, type Memory, type MemoryHandle } from "../base/memory.js";
import type { KernelSpec } from "../kernels/options.js";
import { prepareKernels } from "../kernels/prepare.js";

/**
 * Joins any worker thread of this process to an engine: `worker.postMessage(engine.handle)`, and there
 * `await attachEngine(handle)`. Opaque.
 */
export interface EngineHandle {
  readonly memory: MemoryHandle;
  readonly kernels: KernelSpec;
}

/** Builds this thread's view of the engine's memory, as a thread of its own. */
export async function attachHandle(handle: EngineHandle): Promise<Memory> {
  const createKernels = await prepareKernels(handle.kernels);
  const control = new Int32Array(handle.memory.control.buffer);
  // Until its number is known a thread has no scratch; attaching again with the number costs microseconds.
  const thread = claimThread(control, handle.memory.sizes.threads);
  return attachMemory(handle.memory, thread, (blocks, layout, shift) =>
    createKernels(blocks, layout, shift, thread),
  );
}

function claimThread(control: Int32Array, threads: number): number {
  // The engine line is the first region of the control memory.
  // ORDER threads.claim <-> threads.count: each number is given once.
  const thread = addWord(control, ENGINE_THREADS, 1);
  if (thread < threads) return thread;
  // ORDER threads.unclaim <-> threads.count: the number was beyond the table; else it counts as a thread.
  addWord(control, ENGINE_THREADS, -1);
  throw new PagefoldError(
    "PAGEFOLD_NO_ROOM",
    `${threads} threads have been attached to this engine; create it with a larger maxThreads`,
    { threads },
  );
}

/** Threads ever attached. */
export function threadCount(memory: Memory): number {
  // ORDER threads.count <-> threads.claim, threads.unclaim: a statistic; else a thread that attaches now
  // is not counted.
  const claimed = loadWord(memory.control, memory.layout.engine + ENGINE_THREADS);
  return Math.min(claimed, memory.sizes.threads);
}
