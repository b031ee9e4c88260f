/**
 * migrator - a migrator's thread: frames that it is asked to move, and its policies in between.
 *
 * A turn is one plan of one policy, moved. Between turns the thread is in its event loop, where messages are heard.
 * A policy is quiet when a whole lap of its frames moved nothing; when all are, the thread sleeps, longer each time,
 * and a millisecond at least for each turn that it took: a large machine is not looked through all of the time.
 */
import type { MessagePort } from "node:worker_threads";
import type { Memory } from "../base/memory.js";
import { NONE } from "../base/units.js";
import { createBatch, MIGRATED, type MigrationBatch, OUTCOMES } from "../migrate/batch.js";
import { planBalance } from "../migrate/policies/balance.js";
import { planChaos } from "../migrate/policies/chaos.js";
import { planFollow } from "../migrate/policies/follow.js";
import { createPlanner, movePlanned, type Planner } from "../migrate/policies/plan.js";
import { activePolicies, type Policy } from "../migrate/policies/policy.js";
import { Migrator } from "./migration.js";

/** Which of how many migrators a thread is, and what its chance begins with. */
export interface MigratorShare {
  readonly number: number;
  readonly migrators: number;
  readonly seed: number;
}

export type ToMigrator =
  | { readonly id: number; readonly pfns: readonly number[]; readonly to: number }
  /** A round of emptying this block. */
  | { readonly id: number; readonly evacuate: number }
  /** Answered when no batch that was planned by policies of before is under way. */
  | { readonly id: number; readonly policiesSet: true }
  | { readonly id: number; readonly cancel: number }
  | { readonly close: true };

/** Plans a batch; true: this was the last of a lap. */
type Plan = (memory: Memory, planner: Planner) => boolean;

/** Those that plan frame by frame. */
const PLANS: Partial<Record<Policy, Plan>> = {
  follow: planFollow,
  balance: planBalance,
  chaos: planChaos,
};

const SLEEP_MIN_MS = 1;
const SLEEP_MAX_MS = 64;
const SLEEP_TURN_MS = 1;

/** The policies of one migrator. */
class Policies {
  readonly #memory: Memory;
  readonly #planner: Planner;
  readonly #batch: MigrationBatch;
  readonly #tally = new Int32Array(OUTCOMES);
  /** Policies that have moved something in their lap so far, and those whose last lap moved nothing. */
  readonly #moved = new Set<Policy>();
  readonly #quiet = new Set<Policy>();
  #turns = 0;

  constructor(memory: Memory, share: MigratorShare) {
    this.#memory = memory;
    this.#planner = createPlanner(memory, share.number, share.migrators, share.seed);
    this.#batch = createBatch(memory);
  }

  /** Does a turn of the next policy; how many frames it moved. NONE: all policies are quiet. */
  turn(): number {
    const awake = this.#active().filter((policy) => !this.#quiet.has(policy));
    const policy = awake[this.#turns++ % awake.length];
    if (policy === undefined) return NONE;
    const ended = (PLANS[policy] as Plan)(this.#memory, this.#planner);
    this.#tally.fill(0);
    movePlanned(this.#memory, this.#planner, this.#batch, this.#tally);
    const moved = this.#tally[MIGRATED] as number;
    if (moved > 0) this.#moved.add(policy);
    // What has moved may give the others something to do.
    if (moved > 0) this.#quiet.clear();
    if (ended && !this.#moved.delete(policy)) this.#quiet.add(policy);
    return moved;
  }

  #active(): Policy[] {
    return activePolicies(this.#memory).filter((policy) => PLANS[policy] !== undefined);
  }

  /** Is there any that would plan if it looked? */
  get any(): boolean {
    return this.#active().length > 0;
  }

  /** All look again. */
  wake(): void {
    this.#quiet.clear();
  }
}

class MigratorThread {
  readonly #port: MessagePort;
  readonly #migrator: Migrator;
  readonly #policies: Policies;
  readonly #end: (error?: unknown) => void;
  #next: NodeJS.Immediate | undefined;
  #timer: NodeJS.Timeout | undefined;
  #sleepMs = SLEEP_MIN_MS;
  /** Turns since one moved something, or since it slept. */
  #turns = 0;

  constructor(
    memory: Memory,
    port: MessagePort,
    share: MigratorShare,
    end: (error?: unknown) => void,
  ) {
    this.#port = port;
    this.#migrator = new Migrator(memory);
    this.#policies = new Policies(memory, share);
    this.#end = end;
    port.on("message", (message: ToMigrator) => this.#unlessFailed(() => this.#take(message)));
    this.#wake();
  }

  #take(message: ToMigrator): void {
    if ("close" in message) {
      this.#stop();
      this.#end();
    } else if ("policiesSet" in message) {
      this.#port.postMessage({ id: message.id, value: undefined });
      this.#sleepMs = SLEEP_MIN_MS;
      this.#wake();
    } else if ("pfns" in message) {
      const { id, pfns, to } = message;
      this.#port.postMessage({ id, value: this.#migrator.migrateSlice(pfns, to) });
    } else if ("evacuate" in message) {
      const { id, evacuate } = message;
      this.#port.postMessage({ id, value: this.#migrator.evacuate(evacuate) });
    }
  }

  /** The policies look again, at once. */
  readonly #wake = (): void => {
    clearTimeout(this.#timer);
    this.#policies.wake();
    this.#turns = 0;
    this.#next ??= setImmediate(this.#turn);
  };

  readonly #turn = (): void => {
    this.#next = undefined;
    this.#unlessFailed(() => {
      const moved = this.#policies.turn();
      this.#turns = moved > 0 ? 0 : this.#turns + 1;
      if (moved > 0) this.#sleepMs = SLEEP_MIN_MS;
      if (moved !== NONE) this.#next = setImmediate(this.#turn);
      // Without policies nothing can come but a message.
      else if (this.#policies.any) this.#sleep();
    });
  };

  #sleep(): void {
    const ms = Math.max(this.#sleepMs, SLEEP_TURN_MS * this.#turns);
    this.#timer = setTimeout(this.#wake, ms);
    this.#sleepMs = Math.min(2 * this.#sleepMs, SLEEP_MAX_MS);
  }

  #stop(): void {
    clearImmediate(this.#next);
    clearTimeout(this.#timer);
    this.#port.close();
  }

  /** A failure ends the thread, and with it the engine. */
  #unlessFailed(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#stop();
      this.#end(error);
    }
  }
}

/** Moves frames as the policies say, and as it is asked to, until it is told to close. Rejects if that fails. */
export function runMigrator(
  memory: Memory,
  port: MessagePort,
  share: MigratorShare,
): Promise<void> {
  return new Promise((resolve, reject) => {
    new MigratorThread(memory, port, share, (error) => {
      if (error === undefined) resolve();
      else reject(error);
    });
  });
}
