/**
 * document - what a stress came to, as `--json` prints it: schema/stress.schema.json. Keys are only ever added.
 */
import { availableParallelism, totalmem } from "node:os";
import type { MigrationFailures } from "../../index.js";
import { version } from "../package.js";
import type { Event } from "./events.js";
import type { Failure } from "./failure.js";
import type { Latency } from "./latency.js";
import { type Plan, planDigest } from "./plan.js";
import type { StressResult } from "./stress.js";

/** Events that a failure is told with; --dump has more. */
const EVENTS = 20;

export interface StressDocument {
  readonly schema: "pagefold.stress/1";
  readonly seed: number;
  /** SHA-256 of everything that options and seed decide. */
  readonly plan_digest: string;
  readonly seconds: number;
  readonly interrupted: boolean;
  /** How many there were. */
  readonly actors: {
    readonly nodes: number;
    readonly guests: number;
    readonly vcpus: number;
    readonly ksmd: number;
    readonly migrators: number;
  };
  readonly operations: {
    readonly total: number;
    readonly writes: number;
    readonly reads: number;
    readonly pins: number;
  };
  /** A second. */
  readonly rates: {
    readonly operations: number;
    readonly merges: number;
    readonly cow_breaks: number;
    readonly migrations: number;
  };
  readonly latency_ms: Latency | null;
  readonly merges: number;
  readonly cow_breaks: number;
  readonly unmerges: {
    readonly everything: number;
    readonly regions: number;
    readonly refused: number;
  };
  readonly migrations: {
    readonly succeeded: number;
    readonly shared: number;
    readonly failed: MigrationFailures;
  };
  readonly blocks: {
    readonly removed: number;
    readonly added: number;
    readonly refused: number;
  };
  readonly knob_switches: number;
  readonly checks: { readonly done: number; readonly clean: number };
  readonly mismatches: number;
  /** With what was done to the machine last. */
  readonly failure: (Failure & { readonly events: readonly Event[] }) | null;
  readonly rss_bytes: { readonly quarter: number | null; readonly end: number };
  readonly options: Pick<Plan, "seconds" | "memory_per_node" | "block_bytes" | "pages_per_guest">;
  readonly versions: { readonly pagefold: string; readonly node: string; readonly v8: string };
  readonly machine: { readonly cpus: number; readonly memory_bytes: number };
}

export function stressDocument(result: StressResult): StressDocument {
  const { plan, seconds, performance, counters, migrations, steps } = result;
  const { nodes, guests, ksmd, migrators } = plan;
  const { writes, reads, pins, latency } = performance;
  const total = writes + reads + pins;
  const { pages_merged: merges, cow_ksm: breaks } = counters;
  return {
    schema: "pagefold.stress/1",
    seed: plan.seed,
    plan_digest: planDigest(plan),
    seconds,
    interrupted: result.interrupted,
    actors: { nodes, guests, vcpus: guests * plan.vcpus, ksmd, migrators },
    operations: { total, writes, reads, pins },
    rates: {
      operations: total / seconds,
      merges: merges / seconds,
      cow_breaks: breaks / seconds,
      migrations: migrations.succeeded / seconds,
    },
    latency_ms: latency,
    merges,
    cow_breaks: breaks,
    unmerges: steps.unmerges,
    migrations: {
      succeeded: migrations.succeeded,
      shared: result.sharedMoves,
      failed: migrations.failed,
    },
    blocks: {
      removed: result.blocks.removed,
      added: result.blocks.added,
      refused: steps.blocks_refused,
    },
    knob_switches: steps.knob_switches,
    checks: result.checks,
    mismatches: result.mismatches,
    failure:
      result.failure === null
        ? null
        : { ...result.failure, events: result.wreck?.events.slice(-EVENTS) ?? [] },
    rss_bytes: result.rss,
    options: {
      seconds: plan.seconds,
      memory_per_node: plan.memory_per_node,
      block_bytes: plan.block_bytes,
      pages_per_guest: plan.pages_per_guest,
    },
    versions: { pagefold: version(), node: process.versions.node, v8: process.versions.v8 },
    machine: { cpus: availableParallelism(), memory_bytes: totalmem() },
  };
}
