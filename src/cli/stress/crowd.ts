/**
 * crowd - all vCPUs of a stress, as the command orders them about. They run on the threads of the engine's nodes;
 * the vCPUs of one guest on different ones, where there are several.
 */
import { randomUUID } from "node:crypto";
import type { EngineGuest } from "../../index.js";
import type { StressArgs } from "../programs/stress.js";
import type { Done, WrongPage } from "./actor.js";
import { Latencies, type Latency } from "./latency.js";
import { Ledger } from "./ledger.js";
import { type News, type OrderKind, openCommandLine, type Totals } from "./messages.js";
import type { Plan } from "./plan.js";

const PROGRAM = new URL("../programs/stress.js", import.meta.url);

export interface Performance {
  readonly writes: number;
  readonly reads: number;
  readonly pins: number;
  /** vCPUs that have done nothing. */
  readonly idle: number;
  /** Milliseconds. */
  readonly latency: Latency | null;
}

interface CrowdEvents {
  readonly onWrong: (wrong: WrongPage, recent: readonly Done[]) => void;
  /** A vCPU ended with an error. */
  readonly onError: (error: unknown) => void;
}

interface Waiting {
  readonly resolve: () => void;
  vcpus: number;
}

export class Crowd {
  readonly #line: ReturnType<typeof openCommandLine>;
  readonly #events: CrowdEvents;
  readonly #total: number;
  /** By station. */
  readonly #totals = new Map<string, Totals>();
  readonly #joined = new Map<string, number>();
  /** By number of the order. */
  readonly #waiting = new Map<number, Waiting>();
  #allJoined: () => void = () => {};
  #number = 0;
  #ended: Promise<unknown> = Promise.resolve();

  readonly #run = randomUUID();

  constructor(vcpus: number, events: CrowdEvents) {
    this.#line = openCommandLine(this.#run);
    this.#events = events;
    this.#total = vcpus;
    this.#line.onMessage((news) => this.#hear(news));
  }

  /** Starts the vCPUs of guests without pages; resolves when all of them wait to be told to go. */
  async start(plan: Plan, guests: readonly EngineGuest[]): Promise<void> {
    const joined = new Promise<void>((resolve) => {
      this.#allJoined = resolve;
    });
    const programs: Promise<unknown>[] = [];
    for (const [number, guest] of guests.entries()) {
      const home = guest.node;
      const ledger = Ledger.create(plan.pages_per_guest);
      for (let vcpu = 0; vcpu < plan.vcpus; vcpu++) {
        await guest.moveToNode((home + vcpu) % plan.nodes);
        const actor = {
          ...{ guest: number, vcpu, vcpus: plan.vcpus, pages: plan.pages_per_guest },
          seed: plan.vcpu_seeds[number]?.[vcpu] ?? 0,
        };
        const { seed, patterns } = plan;
        const args: StressArgs = { run: this.#run, actor, seed, patterns, ledger };
        programs.push(guest.run(PROGRAM, args));
      }
      await guest.moveToNode(home);
    }
    for (const program of programs) program.catch(this.#events.onError);
    this.#ended = Promise.allSettled(programs);
    await joined;
  }

  /** Resolves when all vCPUs have done as ordered: after a pause none of them is in guest mode. */
  order(order: OrderKind): Promise<void> {
    const number = ++this.#number;
    return new Promise((resolve) => {
      this.#waiting.set(number, { resolve, vcpus: 0 });
      this.#line.post({ order, number });
    });
  }

  /** What was known when they last answered. */
  get performance(): Performance {
    const sums = { writes: 0, reads: 0, pins: 0, idle: 0 };
    const latencies = new Latencies();
    for (const totals of this.#totals.values()) {
      sums.writes += totals.writes;
      sums.reads += totals.reads;
      sums.pins += totals.pins;
      sums.idle += totals.idle;
      latencies.addAll(totals.latencies);
    }
    return { ...sums, latency: latencies.summary() };
  }

  /** Ends the vCPUs, which have paused. */
  async stop(): Promise<void> {
    await this.order("stop");
    await this.#ended;
  }

  close(): void {
    this.#line.close();
  }

  #hear(news: News): void {
    if ("wrong" in news) {
      this.#events.onWrong(news.wrong, news.recent);
    } else if ("joined" in news) {
      this.#joined.set(news.station, news.joined);
      const joined = [...this.#joined.values()].reduce((sum, vcpus) => sum + vcpus, 0);
      if (joined === this.#total) this.#allJoined();
    } else {
      this.#totals.set(news.station, news.totals);
      const waiting = this.#waiting.get(news.done);
      if (waiting === undefined) return;
      waiting.vcpus += news.vcpus;
      if (waiting.vcpus < this.#total) return;
      this.#waiting.delete(news.done);
      waiting.resolve();
    }
  }
}
