/**
 * handle - what a thread needs to join an engine, and joining.
 *
 * OWNS    the thread words
 * ORDER   threads.claim <-> threads.count
 */
import { casWord, loadWord, storeWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import { controlLayout, type Sizes } from "../base/layout.js";
import { attachMemory, type Memory, type MemoryHandle } from "../base/memory.js";
import type { KernelSpec } from "../kernels/options.js";
import { prepareKernels } from "../kernels/prepare.js";

/**
 * Joins any worker thread of this process to an engine: `worker.postMessage(engine.handle)`, and there
 * `await attachEngine(handle)`. What is in it is pagefold's own.
 */
export interface EngineHandle {
  /** The shared memories. @hidden */
  readonly memory: MemoryHandle;
  /** The compiled kernels. @hidden */
  readonly kernels: KernelSpec;
}

/** Builds this thread's view of the engine's memory, as a thread of its own. */
export async function attachHandle(handle: EngineHandle): Promise<Memory> {
  const createKernels = await prepareKernels(handle.kernels);
  const control = new Int32Array(handle.memory.control.buffer);
  // Until its number is known a thread has no scratch; attaching again with the number costs microseconds.
  const thread = claimThread(control, handle.memory.sizes);
  return attachMemory(handle.memory, thread, (blocks, layout, shift) =>
    createKernels(blocks, layout, shift, thread),
  );
}

/** Gives the thread's number back; its vCPUs have been given back before. */
export function releaseThread(memory: Memory): void {
  // ORDER threads.release <-> threads.claim: the thread does nothing with the engine from here on; else
  // two have its scratch and its locks' name.
  storeWord(memory.control, memory.layout.threads + memory.thread, 0);
}

function claimThread(control: Int32Array, sizes: Sizes): number {
  const { threads } = controlLayout(sizes);
  for (let thread = 0; thread < sizes.threads; thread++) {
    // ORDER threads.claim <-> threads.release, threads.count: each number has one user at a time.
    if (casWord(control, threads + thread, 0, 1) === 0) return thread;
  }
  throw new PagefoldError(
    "PAGEFOLD_NO_ROOM",
    `${sizes.threads} threads are attached to this engine; ` +
      "close some, or create it with a larger maxThreads",
    { threads: sizes.threads },
  );
}

/** Threads attached at this moment. */
export function threadCount(memory: Memory): number {
  let attached = 0;
  for (let thread = 0; thread < memory.sizes.threads; thread++) {
    // ORDER threads.count <- threads.claim
    attached += loadWord(memory.control, memory.layout.threads + thread);
  }
  return attached;
}
