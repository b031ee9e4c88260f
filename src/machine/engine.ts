/**
 * engine - the public object: creates the machine, supervises its workers, passes calls on to ksmd.
 *
 * Never on a hot path: guests are read and written by the threads that hold their vCPUs.
 */
import { randomUUID } from "node:crypto";
import { EventEmitter } from "node:events";
import { PagefoldError } from "../base/errors.js";
import { attachBlock, createBlock, createMemoryHandle, type Memory } from "../base/memory.js";
import { type Nid, pagesFor, type Slot, type ThreadId } from "../base/units.js";
import { warmKernels } from "../kernels/prepare.js";
import type { Counters } from "../ksm/counters.js";
import { writeKnobs } from "../ksm/knobs.js";
import { activePolicies, type Policy, setPolicies } from "../migrate/policies/policy.js";
import { nodeOfBlock } from "../mm/blocks.js";
import { initBlock } from "../mm/frames.js";
import { claimGuest, initGuest, setGuestNode, slotsFor } from "../mm/guest.js";
import { breakMachine } from "../mm/wait.js";
import { onAbort, unlessAborted } from "./abort.js";
import { disownThread } from "./attach.js";
import { AutoCompaction } from "./auto-compaction.js";
import { BlockKeeper, type BlockStats, type Released, readBlocks } from "./block-keeper.js";
import { BlockOwner } from "./block-owner.js";
import type { CallOptions } from "./channel.js";
import type { CheckReport } from "./check.js";
import { type Crew, HiredCrew, LocalCrew } from "./crew.js";
import { EngineGuest, type Guest, type GuestHost } from "./guest.js";
import { attachWith, type EngineHandle } from "./handle.js";
import { Ksm } from "./ksm.js";
import { framesElsewhere, type MigrationResult } from "./migration.js";
import {
  checkOptionNames,
  checkPolicies,
  type EngineConfig,
  type EngineOptions,
  resolveOptions,
} from "./options.js";
import { checkProgram } from "./program.js";
import type { Report } from "./report.js";
import { readStats, type Stats } from "./stats.js";

/** What a guest is created with. */
export interface GuestOptions {
  /** Bytes of its address space, rounded up to whole pages of 4 KiB. They cost no frame until they are written. */
  readonly bytes: number;
  /** Home node, from 0: frames are taken there first. Default: the nodes in turn. */
  readonly node?: Nid;
  /** Whether ksmd may merge its pages from the start. Default true. */
  readonly mergeable?: boolean;
  /** What messages call it. Default: "guest" and its number. */
  readonly name?: string;
  /** URL of a module to run with a vCPU of the guest, on its node; see GuestProgram and `guest.finished`. */
  readonly program?: URL | string;
  /** Given to the program; structured-cloned. */
  readonly args?: unknown;
}

const GUEST_OPTIONS: readonly (keyof GuestOptions)[] = [
  "bytes",
  "node",
  "mergeable",
  "name",
  "program",
  "args",
];

/** What to move where: give `guest` or `pfns`. */
export interface MigrateOptions {
  /** All frames that pages of this guest lie in, those excepted that are on the node already. */
  readonly guest?: Guest;
  /** Frames by number; any number may be given. */
  readonly pfns?: readonly number[];
  /** Number of the node. */
  readonly to: number;
}

const MIGRATE_OPTIONS: readonly (keyof MigrateOptions)[] = ["guest", "pfns", "to"];

/** Events of an engine, with what their listeners get. */
export interface EngineEvents {
  /** A pass of ksmd ended; the counters are those of its end. */
  pass: [counters: Counters];
  /** The policy "compact" has taken blocks away. */
  released: [released: Released];
  /** A worker of the engine died; every pending call has been rejected with the same error. */
  crash: [error: PagefoldError];
  /** The engine is closed: its workers have ended. */
  close: [];
}

/**
 * Creates an engine and starts its workers; `await engine.close()` when done with it, or they keep the process
 * alive. Rejects with PAGEFOLD_BAD_OPTION or EINVAL for an option or a knob that is unknown or out of range, with
 * PAGEFOLD_BAD_WASM where the kernels cannot run.
 */
export async function createEngine(options: EngineOptions = {}): Promise<Engine> {
  options.signal?.throwIfAborted();
  const config = resolveOptions(options);
  const handle: EngineHandle = {
    memory: createMemoryHandle(config.sizes, config.patience, []),
    kernels: config.kernels,
    channel: `pagefold/${randomUUID()}`,
  };
  const owner = new BlockOwner(handle.channel, config.collectGarbage);
  try {
    const memory = await attachWith(handle, () => owner);
    owner.start(memory);
    addFirstBlocks(memory, config.blocksPerNode);
    writeKnobs(memory, config.knobs);
    setPolicies(memory, config.policies);
    warmKernels(memory.kernels);
    const engine = new Engine(config, handle, memory, owner);
    await engine.start(options.signal);
    return engine;
  } catch (error) {
    owner.leave();
    throw error;
  }
}

/** Those that are there before any other thread joins. */
function addFirstBlocks(memory: Memory, perNode: number): void {
  const most = memory.sizes.blocks / memory.sizes.nodes;
  for (let number = 0; number < memory.sizes.blocks; number++) {
    if (number % most >= perNode) continue;
    attachBlock(memory, number, createBlock(memory.sizes, nodeOfBlock(memory, number)));
    initBlock(memory, number);
  }
}

/**
 * A machine of guests, nodes and ksmd, as the thread that created it sees it. Calls that wait reject with
 * PAGEFOLD_CLOSED once it is closed, with PAGEFOLD_CRASHED once a worker of it has died.
 */
export class Engine extends EventEmitter<EngineEvents> implements AsyncDisposable {
  /** Post it to a worker thread of yours, and `await attachEngine(handle)` there. */
  readonly handle: EngineHandle;
  /** ksmd: its knobs, and asking it to scan. */
  readonly ksm: Ksm;
  readonly #config: EngineConfig;
  readonly #memory: Memory;
  readonly #guests: EngineGuest[] = [];
  readonly #host: GuestHost;
  readonly #owner: BlockOwner;
  readonly #keeper: BlockKeeper;
  readonly #compaction: AutoCompaction;
  #crew: Crew;
  #nextSlot: Slot = 0;
  #closed: Promise<void> | null = null;

  /** @internal */
  constructor(config: EngineConfig, handle: EngineHandle, memory: Memory, owner: BlockOwner) {
    super();
    this.handle = handle;
    this.#config = config;
    this.#memory = memory;
    this.#owner = owner;
    this.#keeper = new BlockKeeper(memory, owner, () => this.#crew);
    this.#compaction = new AutoCompaction(memory, this.#keeper, (released) => {
      this.emit("released", released);
    });
    this.#crew = new LocalCrew(memory, (counters) => this.emit("pass", counters));
    this.#host = {
      moveToNode: (guest, to, call) => this.#moveToNode(guest, to, call),
      command: (command, call) => this.#crew.command(command, call),
      runProgram: (guest, program, args, call) =>
        this.#crew.runProgram(guest.id, guest.node, String(program), args, call),
    };
    this.ksm = new Ksm(memory, () => this.#crew);
  }

  /** @internal */
  async start(signal: AbortSignal | undefined): Promise<void> {
    if (this.#config.workers) {
      this.#crew = await HiredCrew.hire(this.#memory, this.handle, this.#config.migrators, {
        onPass: (counters) => this.emit("pass", counters),
        onDeath: (actor, thread, cause) => this.#crashed(actor, thread, cause),
      });
      // Passes are told only when somebody listens: an idle ksmd ends thousands a second.
      (this as EventEmitter).on("newListener", (event) => {
        if (event === "pass") this.#crew.wantEvents();
      });
    }
    void this.#compaction.follow();
    if (signal === undefined) return;
    // Aborted while the workers started: nobody was listening yet.
    if (signal.aborted) await this.close();
    signal.throwIfAborted();
    this.once(
      "close",
      onAbort(signal, () => void this.close()),
    );
  }

  /**
   * Creates a guest: all of its pages are without a frame and read as zeros. Throws PAGEFOLD_BAD_OPTION, or
   * PAGEFOLD_NO_ROOM when `maxGuests` or `maxGuestBytes` is used up.
   */
  createGuest(options: GuestOptions): EngineGuest {
    this.#checkOpen();
    checkOptionNames(options, GUEST_OPTIONS);
    if (options.program !== undefined) checkProgram(options.program);
    const pages = this.#guestPages(options.bytes);
    const node = this.#guestNode(options.node);
    const base = this.#nextSlot;
    if (base + slotsFor(pages) > this.#memory.sizes.slots) {
      throw new PagefoldError(
        "PAGEFOLD_NO_ROOM",
        `guests may have ${this.#memory.sizes.slots} pages together, and ${pages} more do not fit; ` +
          "create the engine with a larger maxGuestBytes",
        { pages, slots: this.#memory.sizes.slots, used: base },
      );
    }
    const id = claimGuest(this.#memory);
    if (id < 0) {
      throw new PagefoldError(
        "PAGEFOLD_NO_ROOM",
        `there are ${this.#memory.sizes.guests} guests; create the engine with a larger maxGuests`,
        { guests: this.#memory.sizes.guests },
      );
    }
    this.#nextSlot += slotsFor(pages);
    initGuest(this.#memory, id, base, pages, node, options.mergeable ?? true);
    const program = (): Promise<unknown> =>
      options.program === undefined
        ? Promise.resolve()
        : this.#crew.runProgram(id, node, String(options.program), options.args);
    const guest = new EngineGuest(
      this.#memory,
      this.#host,
      id,
      options.name ?? `guest${id}`,
      program,
    );
    this.#guests.push(guest);
    this.#crew.wake();
    return guest;
  }

  /**
   * Tells that a thread of yours that had joined by `attachEngine` is gone without `close()`: its vCPUs count
   * as outside guest mode, and others may take them; its number is not given out again. `thread` is its
   * AttachedEngine's; call this when its worker has exited.
   */
  disown(thread: ThreadId): void {
    disownThread(this.#memory, thread);
    this.#owner.forget(thread);
  }

  /**
   * Moves frames to node `to` while guests and ksmd go on: pages keep their bytes, and whoever touches one at that
   * moment waits for it. A frame that cannot be moved stays as it was and is counted by reason, whatever `pfns`
   * holds. Frames of merged pages are moved with all their sharers. The engine's migrators do it; without any, this
   * thread does in slices, and throws PAGEFOLD_IN_SECTION inside a run section. PAGEFOLD_BAD_OPTION: there is no
   * such node.
   */
  async migrate(options: MigrateOptions, call: CallOptions = {}): Promise<MigrationResult> {
    checkOptionNames(options, MIGRATE_OPTIONS);
    const { guest, to } = options;
    call.signal?.throwIfAborted();
    this.#checkOpen();
    this.#checkNode(to, "to");
    const pfns = guest === undefined ? options.pfns : framesElsewhere(this.#memory, guest.id, to);
    if (!Array.isArray(pfns) || (guest !== undefined && options.pfns !== undefined)) {
      throw new PagefoldError("PAGEFOLD_BAD_OPTION", "name a guest, or an array of pfns, to move", {
        options: ["guest", "pfns"],
      });
    }
    return await this.#crew.migrate(pfns, to, call);
  }

  /**
   * Adds a block of `blockBytes` to the node; resolves with its number when every thread has it, and its frames may
   * be taken. PAGEFOLD_NO_ROOM: the node has `maxMemoryPerNode`; PAGEFOLD_NO_MEMORY: the system gives no more;
   * PAGEFOLD_THREAD_STUCK: a thread, named in the message, came to no safepoint within `faultTimeout`.
   */
  async addBlock(node: Nid, call: CallOptions = {}): Promise<number> {
    call.signal?.throwIfAborted();
    this.#checkOpen();
    this.#checkNode(node, "node");
    return await unlessAborted(this.#keeper.add(node), call.signal);
  }

  /**
   * Empties block `block` and takes it away: its pages move to other blocks, of its node while that has room, and go
   * on meanwhile; every thread lets go of it. Its memory goes back to the system when each thread that had it has run
   * a major garbage collection (see `collectGarbage`). PAGEFOLD_BLOCK_BUSY: a frame, named in the message with the
   * reason, cannot be moved; PAGEFOLD_THREAD_STUCK: a thread does not let go. The block then is as it was, and the
   * call may be repeated.
   */
  async offlineBlock(block: number, call: CallOptions = {}): Promise<Released> {
    call.signal?.throwIfAborted();
    this.#checkOpen();
    return await unlessAborted(this.#keeper.offline(block, call), call.signal);
  }

  /**
   * Takes away every block whose frames fit into what is free of the others of its node. Memory that was given back is
   * taken again when frames run out.
   */
  async compact(call: CallOptions = {}): Promise<Released> {
    call.signal?.throwIfAborted();
    this.#checkOpen();
    const { blocks, bytes } = await unlessAborted(this.#keeper.compact(0, call), call.signal);
    return { blocks, bytes };
  }

  /** The blocks that there are, in order of number. */
  blocks(): readonly BlockStats[] {
    return readBlocks(this.#memory);
  }

  /** What the migrators do by themselves at this moment. */
  get policies(): readonly Policy[] {
    return activePolicies(this.#memory);
  }

  /**
   * Makes these what the migrators do by themselves; none: they move only what they are asked to. Resolves when each
   * has heard: nothing that a policy left out has planned is under way then. PAGEFOLD_BAD_OPTION for a name that is
   * none or comes twice, and for any policy in an engine without migrators.
   */
  async setPolicies(policies: readonly Policy[], call: CallOptions = {}): Promise<void> {
    const { migrators, workers } = this.#config;
    call.signal?.throwIfAborted();
    this.#checkOpen();
    setPolicies(this.#memory, checkPolicies(policies, workers ? migrators.length : 0));
    await Promise.all([this.#crew.policiesSet(call), this.#compaction.follow()]);
  }

  /** The guests, in order of creation: the index is the guest's `id`. */
  get guests(): readonly EngineGuest[] {
    return this.#guests;
  }

  /** Counters, knobs, frames: a plain object, read at once from shared memory. Exact at a scan boundary. */
  stats(): Stats {
    return readStats(this.#memory);
  }

  /** Who shares how much, made by ksmd between two batches. Exact at a scan boundary. */
  async report(options?: CallOptions): Promise<Report> {
    return (await this.#crew.command({ kind: "report" }, options)) as Report;
  }

  /**
   * Audits the whole machine: recounts references, sharers, counters and free frames from the page tables. For
   * moments at which no guest is being accessed and ksmd has nothing to do, or what is under way is reported.
   */
  async check(options?: CallOptions): Promise<CheckReport> {
    return (await this.#crew.command({ kind: "check" }, options)) as CheckReport;
  }

  /**
   * Resolves at the end of a pass in which no page was first seen, written, hashed, merged or unmerged.
   * `ignoreVolatile`: pages that are written all the time do not count. Rejects with PAGEFOLD_NOT_RUNNING
   * while ksmd is stopped.
   */
  async settled(options: CallOptions & { readonly ignoreVolatile?: boolean } = {}): Promise<void> {
    const { ignoreVolatile = false, ...call } = options;
    await this.#crew.request({ kind: "settled", ignoreVolatile }, call);
  }

  /** For looking into the machine. @internal */
  get memory(): Memory {
    return this.#memory;
  }

  /**
   * Stops the workers; pending calls are rejected with PAGEFOLD_CLOSED, and the signals of programs abort. A worker
   * that hears nothing for two seconds is terminated. Closing twice is fine.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** `close()`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#compaction.stop();
    this.#owner.fail(closedError());
    await this.#crew.close(closedError());
    for (const guest of this.#guests) guest.close();
    this.#owner.leave();
    this.emit("close");
  }

  #crashed(actor: string, thread: ThreadId | null, cause: Error): void {
    breakMachine(this.#memory);
    if (thread !== null) this.disown(thread);
    const error = new PagefoldError(
      "PAGEFOLD_CRASHED",
      `${actor} died: ${cause.message}; close this engine and create a new one`,
      { actor },
      { cause },
    );
    this.#owner.fail(error);
    this.#crew.fail(error);
    this.emit("crash", error);
  }

  #checkOpen(): void {
    if (this.#closed !== null) throw closedError();
  }

  #guestPages(bytes: number): number {
    if (Number.isSafeInteger(bytes) && bytes > 0) return pagesFor(bytes);
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `a guest needs a positive number of bytes, not ${bytes}`,
      {
        option: "bytes",
        value: bytes,
      },
    );
  }

  #guestNode(node: Nid | undefined): Nid {
    const { nodes } = this.#memory.sizes;
    if (node === undefined) return this.#guests.length % nodes;
    this.#checkNode(node, "node");
    return node;
  }

  #checkNode(node: Nid, option: string): void {
    const { nodes } = this.#memory.sizes;
    if (Number.isInteger(node) && node >= 0 && node < nodes) return;
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `${option} must be an integer from 0 to ${nodes - 1}, not ${node}`,
      { option, value: node },
    );
  }

  /** Pages that fault in meanwhile go to the new home already. */
  async #moveToNode(guest: Guest, to: Nid, call?: CallOptions): Promise<MigrationResult> {
    this.#checkOpen();
    this.#checkNode(to, "node");
    setGuestNode(this.#memory, guest.id, to);
    return await this.migrate({ guest, to }, call);
  }
}

function closedError(): PagefoldError {
  return new PagefoldError("PAGEFOLD_CLOSED", "the engine is closed; create another");
}
