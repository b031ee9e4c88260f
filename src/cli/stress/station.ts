/**
 * station - the vCPUs of a stress on one thread, as the command speaks to them: it tells when all of them have
 * done as they were ordered.
 */
import { threadId } from "node:worker_threads";
import type { Actor, WrongPage } from "./actor.js";
import { Latencies } from "./latency.js";
import { type Line, type News, type Order, openStationLine, type Totals } from "./messages.js";

/** What a vCPU that has paused is to do. */
type Next = "go" | "sweep" | "stop";

/** An answer that nobody waits for. */
const NOT_ORDERED = { number: 0 };

/** Those of this thread, by run. */
const stations = new Map<string, Station>();

export class Station {
  /** They come to `pause` when this is true. */
  wantsPause = true;
  readonly #run: string;
  readonly #line: Line<News, Order>;
  readonly #name = `${threadId}`;
  readonly #actors = new Set<Actor>();
  /** With those that have left: what they did stays done. */
  readonly #all: Actor[] = [];
  #waiting: ((next: Next) => void)[] = [];
  /** The order that is done when all of them wait; null: none, and they have only just begun. */
  #order: Order | null = null;

  private constructor(run: string) {
    this.#run = run;
    this.#line = openStationLine(run);
    this.#line.onMessage((order) => this.#obey(order));
  }

  /** Adds a vCPU of this thread to the run's. */
  static join(run: string, actor: Actor): Station {
    const station = stations.get(run) ?? new Station(run);
    stations.set(run, station);
    station.#actors.add(actor);
    station.#all.push(actor);
    return station;
  }

  /** Resolves with what to do next. */
  pause(): Promise<Next> {
    return new Promise((resolve) => {
      if (this.#order?.order === "stop") {
        resolve("stop");
        return;
      }
      this.#waiting.push(resolve);
      if (this.#order === null) this.#post({ joined: this.#waiting.length });
      else this.#answerIfAllWait();
    });
  }

  /** The vCPU goes to `pause` then. */
  report(actor: Actor, wrong: WrongPage): void {
    this.#post({ wrong, recent: actor.recent });
  }

  leave(actor: Actor): void {
    this.#actors.delete(actor);
    if (this.#actors.size > 0) return;
    this.#answer(NOT_ORDERED);
    this.#line.close();
    stations.delete(this.#run);
  }

  #obey(order: Order): void {
    if (order.order === "tell") {
      this.#answer(order);
      return;
    }
    this.#order = order;
    this.wantsPause = order.order !== "go";
    if (order.order === "pause") {
      this.#answerIfAllWait();
      return;
    }
    if (order.order !== "sweep") this.#answer(order);
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const go of waiting) go(order.order);
  }

  #answerIfAllWait(): void {
    const order = this.#order as Order;
    if (this.#waiting.length === this.#actors.size && order.order !== "go") this.#answer(order);
  }

  #answer({ number }: Pick<Order, "number">): void {
    this.#post({ done: number, vcpus: this.#actors.size, totals: this.#totals() });
  }

  #totals(): Totals {
    const latencies = new Latencies();
    const totals = { writes: 0, reads: 0, pins: 0, idle: 0 };
    for (const actor of this.#all) {
      const { writes, reads, pins } = actor.operations;
      totals.writes += writes;
      totals.reads += reads;
      totals.pins += pins;
      if (writes === 0 || reads === 0) totals.idle++;
      latencies.addAll(actor.latencies.sums);
    }
    return { ...totals, latencies: latencies.sums };
  }

  #post(news: Without<News, "station">): void {
    this.#line.post({ station: this.#name, ...news } as News);
  }
}

type Without<T, K extends string> = T extends unknown ? Omit<T, K> : never;
