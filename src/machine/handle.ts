/**
 * handle - what a thread needs to join an engine, and joining.
 *
 * OWNS    the thread words
 * ORDER   threads.claim <-> threads.count
 */
import { casWord, loadWord, storeWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import { controlLayout, type Sizes } from "../base/layout.js";
import { attachMemory, type Memory, type MemoryHandle, type MemoryHost } from "../base/memory.js";
import type { KernelSpec } from "../kernels/options.js";
import { prepareKernels } from "../kernels/prepare.js";
import { BlockMember } from "./block-member.js";

/**
 * Joins any worker thread of this process to an engine: `worker.postMessage(engine.handle)`, and there
 * `await attachEngine(handle)`. What is in it is pagefold's own.
 */
export interface EngineHandle {
  /** The tables; blocks come from the engine's owner, so that no handle keeps one that has gone. @hidden */
  readonly memory: MemoryHandle;
  /** The compiled kernels. @hidden */
  readonly kernels: KernelSpec;
  /** Name of the channel on which the owner listens. @hidden */
  readonly channel: string;
}

/** Builds this thread's view of the engine's memory, as a thread of its own; `name` is what messages call it. */
export async function attachHandle(handle: EngineHandle, name?: string): Promise<Memory> {
  let member: BlockMember | null = null;
  const memory = await attachWith(handle, (thread) => {
    member = new BlockMember(handle.channel, thread, name ?? `thread ${thread}`);
    return member;
  });
  const joined = member as unknown as BlockMember;
  try {
    await joined.join(memory);
  } catch (error) {
    releaseThread(memory);
    throw error;
  }
  joined.start(memory);
  return memory;
}

/** The same for the engine's owner, which has the blocks. */
export async function attachWith(
  handle: EngineHandle,
  createHost: (thread: number) => MemoryHost,
): Promise<Memory> {
  const createKernels = await prepareKernels(handle.kernels);
  const control = new Int32Array(handle.memory.control.buffer);
  // Until its number is known a thread has no scratch; attaching again with the number costs microseconds.
  const thread = claimThread(control, handle.memory.sizes);
  return attachMemory(
    handle.memory,
    thread,
    (blocks, layout, shift) => createKernels(blocks, layout, shift, thread),
    createHost(thread),
  );
}

/** Gives the thread's number back; its vCPUs have been given back before. */
export function releaseThread(memory: Memory): void {
  // ORDER threads.release -> threads.claim, threads.see: the thread does nothing with the engine from here on; else
  // two have its scratch and its locks' name.
  storeWord(memory.control, memory.layout.threads + memory.thread, 0);
  memory.host.leave();
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
    if (loadWord(memory.control, memory.layout.threads + thread) !== 0) attached++;
  }
  return attached;
}
