/**
 * attach - joining an engine from a worker that the embedder owns.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import { type GuestId, NONE, type ThreadId } from "../base/units.js";
import { disownVcpu, vcpuOwner } from "../mm/shootdown.js";
import { vcpuCount } from "../mm/vcpu.js";
import { Guest } from "./guest.js";
import { attachHandle, type EngineHandle, releaseThread } from "./handle.js";
import { readStats, type Stats } from "./stats.js";

/**
 * An engine as a thread that joined it sees it: guests and their vCPUs, and statistics. It belongs to the thread
 * that made it.
 */
export class AttachedEngine {
  /** This thread's number in the engine; given to `engine.disown` if the thread dies without `close()`. */
  readonly thread: ThreadId;
  readonly #memory: Memory;
  readonly #guests = new Map<GuestId, Guest>();
  #closed = false;

  /** @internal */
  constructor(memory: Memory) {
    this.#memory = memory;
    this.thread = memory.thread;
  }

  /**
   * The guest with this number: `guest.id` in the thread that created it. Throws PAGEFOLD_BAD_OPTION if there is
   * none, PAGEFOLD_CLOSED after `close()`.
   */
  guest(id: GuestId): Guest {
    if (this.#closed) {
      throw new PagefoldError("PAGEFOLD_CLOSED", "this thread has left the engine; attach again");
    }
    const known = this.#guests.get(id);
    if (known !== undefined) return known;
    const guest = new Guest(this.#memory, id);
    this.#guests.set(id, guest);
    return guest;
  }

  /** As `engine.stats()`. */
  stats(): Stats {
    return readStats(this.#memory);
  }

  /** Leaves the engine: gives this thread's vCPUs and its number back to others. Closing twice is fine. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const guest of this.#guests.values()) guest.close();
    this.#guests.clear();
    disownThread(this.#memory, this.thread);
    releaseThread(this.#memory);
  }
}

/**
 * Joins the engine of `handle` from this thread, any of the process. Close what it resolves with before the engine
 * closes. Rejects with PAGEFOLD_NO_ROOM when `maxThreads` threads have joined.
 */
export async function attachEngine(handle: EngineHandle): Promise<AttachedEngine> {
  return new AttachedEngine(await attachHandle(handle));
}

/** The vCPUs of a thread that is gone count as outside guest mode, and others may take them. */
export function disownThread(memory: Memory, thread: ThreadId): void {
  if (thread === NONE) return;
  for (let vcpu = 0; vcpu < vcpuCount(memory); vcpu++) {
    if (vcpuOwner(memory, vcpu) === thread) disownVcpu(memory, vcpu);
  }
}
