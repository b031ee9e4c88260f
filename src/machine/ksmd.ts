/**
 * ksmd - the daemon: batches, sleep, commands between batches, requests answered at the end of passes.
 *
 * The loop is synchronous and never returns to its event loop until it is closed; messages are taken with
 * receiveMessageOnPort between batches. Whoever posts one rings the bell, a shared word that ksmd sleeps on.
 * From the first ring on, until there is a page to visit, it warms up instead of sleeping (machine/warm-up.ts).
 *
 * OWNS    engine.wake
 * ORDER   bell.ring <-> bell.look, bell.sleep
 */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { addWord, loadWord, notifyWord, waitWord } from "../base/atomics.js";
import { InvariantError } from "../base/errors.js";
import {
  ENGINE_WAKE,
  SCAN_IDLE,
  SHARD_FULL_SCANS,
  SHARD_PHASE,
  SHARD_QUIET_AT,
  SHARD_SETTLED_AT,
  WIDE_BUSY_MS,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type Counters, readCounters } from "../ksm/counters.js";
import { RUN_MERGE, readKnobs } from "../ksm/knobs.js";
import { SCAN_MORE, SCAN_PASS_ENDED, type ScanOutcome, scanBatch } from "../ksm/scan.js";
import { addWide, type Shard, shardWord } from "../ksm/shard.js";
import { takeChanges } from "../mm/blocks.js";
import {
  type Command,
  executeCommand,
  notRunning,
  type Request,
  toWire,
  type WireError,
} from "./commands.js";
import type { WarmUp } from "./warm-up.js";

export type ToKsmd =
  | { readonly id: number; readonly command: Command }
  | { readonly id: number; readonly request: Request }
  | { readonly id: number; readonly cancel: number }
  | { readonly close: true };

export type FromKsmd =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: WireError }
  | { readonly pass: Counters };

/** Pages between two looks at the messages when ksmd scans flat out. */
const FLAT_OUT_PAGES = 8192;

/** Wakes ksmd; after the message was posted, or a change of blocks was announced. */
export function ringBell(memory: Memory): void {
  const bell = memory.layout.engine + ENGINE_WAKE;
  // ORDER bell.ring <-> bell.look, bell.sleep: the message first; else ksmd looks, finds none, and sleeps on it.
  addWord(memory.control, bell, 1);
  notifyWord(memory.control, bell, Number.POSITIVE_INFINITY);
}

interface Waiting {
  readonly id: number;
  readonly request: Request;
  /** full_scans at which a scan request is done; for `settled`, at which it was made. */
  readonly since: number;
}

/** Runs ksmd on this thread until it is told to close; `warmUp` while it has nothing to do at first. */
export function runKsmd(shard: Shard, port: MessagePort, warmUp: WarmUp | null): void {
  new Ksmd(shard, port, warmUp).run();
}

class Ksmd {
  private waiting: Waiting[] = [];
  private events = false;
  private closing = false;

  constructor(
    private readonly shard: Shard,
    private readonly port: MessagePort,
    private warmUp: WarmUp | null,
  ) {}

  run(): void {
    const { memory } = this.shard;
    const bell = memory.layout.engine + ENGINE_WAKE;
    while (!this.closing) {
      // ORDER bell.look <-> bell.ring: before the messages; one that comes later changes it, and the sleep
      // below does not begin.
      const rung = loadWord(memory.control, bell);
      this.takeMessages();
      if (this.closing) return;
      takeChanges(memory);
      const sleepMs = this.work();
      // The bell has not been rung: the engine is still starting, or nobody wants anything of it.
      if (sleepMs === Number.POSITIVE_INFINITY && rung !== 0 && this.warmUpStep()) continue;
      // ORDER bell.sleep <-> bell.ring: asleep only while the bell is as it was before the messages were taken.
      if (sleepMs > 0) waitWord(memory.control, bell, rung, sleepMs);
    }
  }

  /** Instead of sleeping; false: there is no more to warm up. */
  private warmUpStep(): boolean {
    if (this.warmUp?.next().done === true) this.warmUp = null;
    return this.warmUp !== null;
  }

  /** A batch; returns for how long to sleep then. */
  private work(): number {
    const knobs = readKnobs(this.shard.memory);
    if (knobs.run !== RUN_MERGE) {
      this.refuseWaiting();
      return Number.POSITIVE_INFINITY;
    }
    const flatOut = this.waiting.some(({ request }) => request.kind === "scan");
    // Asked to visit nothing, it sleeps until the knob changes.
    if (knobs.pagesToScan === 0 && !flatOut) return Number.POSITIVE_INFINITY;
    const started = performance.now();
    const outcome = scanBatch(this.shard, flatOut ? FLAT_OUT_PAGES : knobs.pagesToScan);
    addWide(this.shard, WIDE_BUSY_MS, performance.now() - started);
    if (outcome === SCAN_PASS_ENDED) this.endPass();
    if (outcome !== SCAN_MORE && outcome !== SCAN_PASS_ENDED) return this.nothingToScan();
    // Real work warms up as well.
    this.warmUp = null;
    return flatOut ? 0 : knobs.sleepMillisecs;
  }

  /** There is no guest: requests are done, as nothing can change. */
  private nothingToScan(): number {
    const value = readCounters(this.shard.memory);
    for (const { id } of this.waiting.splice(0)) this.reply({ id, value });
    return Number.POSITIVE_INFINITY;
  }

  private endPass(): void {
    if (this.events)
      this.port.postMessage({ pass: readCounters(this.shard.memory) } satisfies FromKsmd);
    this.waiting = this.waiting.filter((waiting) => {
      const done = requestIsDone(this.shard, waiting.request, waiting.since);
      if (done) this.reply({ id: waiting.id, value: readCounters(this.shard.memory) });
      return !done;
    });
  }

  private refuseWaiting(): void {
    for (const { id } of this.waiting.splice(0)) this.reply({ id, error: toWire(notRunning()) });
  }

  private takeMessages(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.port) as { message: ToKsmd } | undefined;
      if (received === undefined) return;
      this.take(received.message);
    }
  }

  private take(message: ToKsmd): void {
    if ("close" in message) {
      this.closing = true;
    } else if ("cancel" in message) {
      this.waiting = this.waiting.filter(({ id }) => id !== message.cancel);
    } else if ("request" in message) {
      const since = requestStart(this.shard, message.request);
      this.waiting.push({ id: message.id, request: message.request, since });
    } else {
      this.execute(message.id, message.command);
    }
  }

  private execute(id: number, command: Command): void {
    if (command.kind === "events") this.events = command.on;
    try {
      this.reply({ id, value: executeCommand(this.shard, command) });
    } catch (error) {
      this.reply({ id, error: toWire(error) });
      // A broken invariant stops the machine.
      if (error instanceof InvariantError) throw error;
    }
    // Stopped even for a moment: full_scans may begin anew, and requests waited for numbers of before.
    if (readKnobs(this.shard.memory).run !== RUN_MERGE) this.refuseWaiting();
  }

  private reply(message: FromKsmd): void {
    this.port.postMessage(message);
  }
}

/** What `since` of a request is: a pass that is under way does not count. */
function requestStart(shard: Shard, request: Request): number {
  const passes = shardWord(shard, SHARD_FULL_SCANS);
  // A pass that is under way harvested before the caller's last writes.
  const underWay = shardWord(shard, SHARD_PHASE) === SCAN_IDLE ? 0 : 1;
  return passes + underWay + (request.kind === "scan" ? request.passes : 0);
}

/** At the end of a pass: is the request done? */
function requestIsDone(shard: Shard, request: Request, since: number): boolean {
  const passes = shardWord(shard, SHARD_FULL_SCANS);
  if (request.kind === "scan") return passes >= since;
  const word = request.ignoreVolatile ? SHARD_QUIET_AT : SHARD_SETTLED_AT;
  return passes > since && shardWord(shard, word) === passes;
}

/** A request that the calling thread works off itself. */
export class OwnScan {
  readonly #since: number;

  constructor(
    private readonly shard: Shard,
    private readonly request: Request,
  ) {
    this.#since = requestStart(shard, request);
  }

  /** Does a pass, or ends the one under way. True: the request is done. */
  pass(onPass: () => void): boolean {
    for (;;) {
      // Whoever listens to passes may have stopped it.
      if (readKnobs(this.shard.memory).run !== RUN_MERGE) throw notRunning();
      const started = performance.now();
      const outcome: ScanOutcome = scanBatch(this.shard, FLAT_OUT_PAGES);
      addWide(this.shard, WIDE_BUSY_MS, performance.now() - started);
      if (outcome === SCAN_MORE) continue;
      if (outcome !== SCAN_PASS_ENDED) return true;
      onPass();
      return requestIsDone(this.shard, this.request, this.#since);
    }
  }
}
