/**
 * messages - what the command and the vCPUs of a stress tell each other: orders to all, and news of each thread.
 */
import { BroadcastChannel } from "node:worker_threads";
import type { Done, Operations, WrongPage } from "./actor.js";
import type { Latencies } from "./latency.js";

/**
 * go: work on. pause: wait, outside of guest mode. sweep: paused, let go of pins and read all own pages.
 * tell: say what was done so far. stop: end.
 */
export type OrderKind = "go" | "pause" | "sweep" | "tell" | "stop";

export interface Order {
  readonly order: OrderKind;
  /** Counts up from 1. */
  readonly number: number;
}

/** What the vCPUs of one thread have done since they began, with those that have ended. */
export interface Totals extends Operations {
  readonly latencies: Latencies["sums"];
  /** vCPUs that have done nothing at all. */
  readonly idle: number;
}

export type News =
  /** As many vCPUs wait on this thread, for the first time. */
  | { readonly station: string; readonly joined: number }
  /** All vCPUs of this thread, so many, have done as ordered; 0: the last of them has ended. */
  | {
      readonly station: string;
      readonly done: number;
      readonly vcpus: number;
      readonly totals: Totals;
    }
  | { readonly station: string; readonly wrong: WrongPage; readonly recent: readonly Done[] };

/** One end of a run's two channels; `run` tells runs of one process apart. Close it. */
export interface Line<Sent, Received> {
  post(message: Sent): void;
  onMessage(listener: (message: Received) => void): void;
  close(): void;
}

export function openCommandLine(run: string): Line<Order, News> {
  return line(new BroadcastChannel(`${run}.orders`), new BroadcastChannel(`${run}.news`));
}

export function openStationLine(run: string): Line<News, Order> {
  return line(new BroadcastChannel(`${run}.news`), new BroadcastChannel(`${run}.orders`));
}

function line<Sent, Received>(
  out: BroadcastChannel,
  incoming: BroadcastChannel,
): Line<Sent, Received> {
  return {
    post: (message) => out.postMessage(message),
    onMessage: (listener) => {
      incoming.onmessage = (event) => listener((event as { readonly data: Received }).data);
    },
    close: () => {
      out.close();
      incoming.close();
    },
  };
}
