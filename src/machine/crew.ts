/**
 * crew - who does the work of an engine: this thread alone, or workers.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import type { GuestId, Nid, Pfn, ThreadId } from "../base/units.js";
import { type Counters, readCounters } from "../ksm/counters.js";
import { createShard, type Shard } from "../ksm/shard.js";
import { onAbort } from "./abort.js";
import { type CallOptions, Channel } from "./channel.js";
import { type Command, executeCommand, type Request } from "./commands.js";
import type { EngineHandle } from "./handle.js";
import { type FromKsmd, OwnScan, ringBell, type ToKsmd } from "./ksmd.js";
import {
  type EvacuationRound,
  type Hand,
  handOf,
  type MigrationResult,
  Migrator,
  migrateAll,
} from "./migration.js";
import type { MigratorShare, ToMigrator } from "./migrator.js";
import { runProgram } from "./program.js";
import { startTopology, type Topology } from "./topology.js";
import type { ToNode } from "./worker.js";

export interface Crew {
  command(command: Command, options?: CallOptions): Promise<unknown>;
  request(request: Request, options?: CallOptions): Promise<unknown>;
  requestSync(request: Request): void;
  runProgram(
    guest: GuestId,
    node: Nid,
    url: string,
    args: unknown,
    options?: CallOptions,
  ): Promise<unknown>;
  /** Moves frames to node `to`: by the migrators, or, without any, in slices in this thread. */
  migrate(pfns: readonly Pfn[], to: Nid, options?: CallOptions): Promise<MigrationResult>;
  /** A round of emptying a block that goes offline: by a migrator, or, without any, in this thread. */
  evacuate(block: number): Promise<EvacuationRound>;
  /** Resolves when each migrator has heard that the policies have changed; there are some. */
  policiesSet(options?: CallOptions): Promise<void>;
  /** There is a guest more: ksmd may have been asleep for want of one. */
  wake(): void;
  /** Somebody listens to passes from now on. */
  wantEvents(): void;
  /** Rejects all calls from now on. */
  fail(error: Error): void;
  close(error: Error): Promise<void>;
}

/** Everything in the calling thread: no workers, no time, no chance. */
export class LocalCrew implements Crew {
  readonly #shard: Shard;
  readonly #onPass: (counters: Counters) => void;
  readonly #pending = new Set<(error: Error) => void>();
  readonly #migrator: Migrator;
  #failed: Error | null = null;

  constructor(memory: Memory, onPass: (counters: Counters) => void) {
    this.#shard = createShard(memory, 0);
    this.#migrator = new Migrator(memory);
    this.#onPass = onPass;
  }

  async command(command: Command, options: CallOptions = {}): Promise<unknown> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    return executeCommand(this.#shard, command);
  }

  async request(request: Request, options: CallOptions = {}): Promise<unknown> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    const scan = new OwnScan(this.#shard, request);
    // Between passes others have their turn: a request for memory that never settles must not hang the thread.
    while (!scan.pass(this.#tellPass)) {
      await new Promise((resolve) => setImmediate(resolve));
      options.signal?.throwIfAborted();
      this.#checkOpen();
    }
    return readCounters(this.#shard.memory);
  }

  requestSync(request: Request): void {
    this.#checkOpen();
    const scan = new OwnScan(this.#shard, request);
    while (!scan.pass(this.#tellPass));
  }

  readonly #tellPass = (): void => this.#onPass(readCounters(this.#shard.memory));

  async runProgram(
    guest: GuestId,
    _node: Nid,
    url: string,
    args: unknown,
    options: CallOptions = {},
  ): Promise<unknown> {
    options.signal?.throwIfAborted();
    this.#checkOpen();
    const controller = new AbortController();
    const result = runProgram(this.#shard.memory, guest, url, args, controller.signal);
    return this.#unlessEnded(result, options.signal, controller);
  }

  /** The program's result, if neither its call's signal nor the engine's end comes first: then it is told. */
  #unlessEnded(
    result: Promise<unknown>,
    signal: AbortSignal | undefined,
    program: AbortController,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const end = (error: unknown): void => {
        program.abort(error);
        reject(error);
      };
      const forget = onAbort(signal, () => end(signal?.reason));
      const done = (): void => {
        this.#pending.delete(end);
        forget();
      };
      this.#pending.add(end);
      result.then(resolve, reject).finally(done);
    });
  }

  migrate(pfns: readonly Pfn[], to: Nid, options: CallOptions = {}): Promise<MigrationResult> {
    const check = (): void => {
      options.signal?.throwIfAborted();
      this.#checkOpen();
    };
    return migrateAll(pfns, [handOf(this.#migrator, to, check)]);
  }

  async evacuate(block: number): Promise<EvacuationRound> {
    this.#checkOpen();
    return this.#migrator.evacuate(block);
  }

  async policiesSet(): Promise<void> {}

  wake(): void {}

  wantEvents(): void {}

  fail(error: Error): void {
    this.#failed ??= error;
    for (const reject of this.#pending) reject(error);
    this.#pending.clear();
  }

  async close(error: Error): Promise<void> {
    this.fail(error);
  }

  /** ksmd is this thread, and may have to wait for what a section of it holds. */
  #checkOpen(): void {
    if (this.#failed !== null) throw this.#failed;
    if (!this.#shard.memory.guestMode.inside) return;
    throw new PagefoldError(
      "PAGEFOLD_IN_SECTION",
      "ksmd was called inside a run section of this thread; end the section first",
    );
  }
}

interface CrewEvents {
  readonly onPass: (counters: Counters) => void;
  readonly onDeath: (actor: string, thread: ThreadId | null, cause: Error) => void;
}

/** A worker for each node and migrator, and one for ksmd. */
export class HiredCrew implements Crew {
  readonly #memory: Memory;
  readonly #topology: Topology;
  readonly #ksmd: Channel<ToKsmd, FromKsmd>;
  readonly #nodes: readonly Channel<ToNode>[];
  readonly #migrators: readonly Channel<ToMigrator>[];
  /** This thread's, which moves frames where no migrator was hired. */
  readonly #migrator: Migrator;
  /** Rounds of evacuation go to the migrators in turn. */
  #nextMigrator = 0;
  #failed: Error | null = null;

  private constructor(memory: Memory, topology: Topology, onPass: CrewEvents["onPass"]) {
    this.#memory = memory;
    this.#topology = topology;
    this.#ksmd = new Channel<ToKsmd, FromKsmd>(
      topology.ksmd.port,
      () => ringBell(memory),
      (event) => {
        if ("pass" in event) onPass(event.pass);
      },
    );
    const nothing = (): void => {};
    this.#nodes = topology.nodes.map(({ port }) => new Channel<ToNode>(port, nothing, nothing));
    this.#migrators = topology.migrators.map(
      ({ port }) => new Channel<ToMigrator>(port, nothing, nothing),
    );
    this.#migrator = new Migrator(memory);
  }

  static async hire(
    memory: Memory,
    handle: EngineHandle,
    migrators: readonly MigratorShare[],
    events: CrewEvents,
  ): Promise<HiredCrew> {
    const { nodes } = memory.sizes;
    const topology = await startTopology(handle, nodes, migrators, events.onDeath);
    return new HiredCrew(memory, topology, events.onPass);
  }

  command(command: Command, options?: CallOptions): Promise<unknown> {
    return this.#ksmd.call((id) => ({ id, command }), options);
  }

  request(request: Request, options?: CallOptions): Promise<unknown> {
    return this.#ksmd.call((id) => ({ id, request }), options);
  }

  requestSync(): void {
    throw new PagefoldError(
      "PAGEFOLD_HAS_WORKERS",
      "scanSync is for an engine without workers; here ksmd scans in its own: await scan()",
    );
  }

  runProgram(
    guest: GuestId,
    node: Nid,
    program: string,
    args: unknown,
    options?: CallOptions,
  ): Promise<unknown> {
    const channel = this.#nodes[node] as Channel<ToNode>;
    return channel.call((id) => ({ id, guest, program, args }), options);
  }

  migrate(pfns: readonly Pfn[], to: Nid, options: CallOptions = {}): Promise<MigrationResult> {
    if (this.#migrators.length === 0) {
      const check = (): void => {
        options.signal?.throwIfAborted();
        if (this.#failed !== null) throw this.#failed;
      };
      return migrateAll(pfns, [handOf(this.#migrator, to, check)]);
    }
    const hands = this.#migrators.map(
      (channel): Hand =>
        (pfns) =>
          channel.call((id) => ({ id, pfns, to }), options) as ReturnType<Hand>,
    );
    return migrateAll(pfns, hands);
  }

  async evacuate(block: number): Promise<EvacuationRound> {
    if (this.#failed !== null) throw this.#failed;
    const migrator = this.#migrators[this.#nextMigrator++ % this.#migrators.length];
    if (migrator === undefined) {
      const round = this.#migrator.evacuate(block);
      await new Promise((resolve) => setImmediate(resolve));
      return round;
    }
    return (await migrator.call((id) => ({ id, evacuate: block }))) as EvacuationRound;
  }

  async policiesSet(options?: CallOptions): Promise<void> {
    const heard = this.#migrators.map((channel) =>
      channel.call((id) => ({ id, policiesSet: true }), options),
    );
    await Promise.all(heard);
  }

  wake(): void {
    ringBell(this.#memory);
  }

  wantEvents(): void {
    void this.command({ kind: "events", on: true }).catch(() => {});
  }

  fail(error: Error): void {
    for (const channel of this.#channels()) channel.fail(error);
    this.#failed ??= error;
  }

  async close(error: Error): Promise<void> {
    this.fail(error);
    this.#ksmd.post({ close: true });
    for (const node of this.#nodes) node.post({ close: true });
    for (const migrator of this.#migrators) migrator.post({ close: true });
    await this.#topology.stop();
    for (const channel of this.#channels()) channel.close(error);
  }

  #channels(): readonly Channel<never, never>[] {
    return [this.#ksmd, ...this.#nodes, ...this.#migrators] as unknown as Channel<never, never>[];
  }
}
