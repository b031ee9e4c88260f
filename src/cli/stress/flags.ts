/**
 * flags - the options of `pagefold stress`.
 */
import { randomInt } from "node:crypto";
import type { Command } from "commander";
import { parseSize } from "../size.js";
import { integer, seconds } from "../values.js";
import type { StressOptions } from "./options.js";

const MEMORY_PER_NODE = 16 * 2 ** 20;
const SEED_MAX = 2 ** 32 - 1;

/** As commander gives them: what has no default of its own may be missing. */
export type StressFlags = Omit<
  StressOptions,
  "seed" | "memoryPerNode" | "json" | "dump" | "quiet"
> &
  Partial<StressOptions>;

export function addStressOptions(stress: Command): void {
  addSizes(stress);
  stress
    .option("--json", "print one JSON document (its schema: pagefold/stress.schema.json)")
    .option("--dump <file>", "if it fails, write events, page tables and frames to this file")
    .option("--quiet", "show no progress (there is none without a terminal or in CI)");
}

function addSizes(stress: Command): void {
  stress
    .option("--seconds <n>", "how long, 0: until Ctrl-C", seconds(0), 30)
    .option(
      "--seed <n>",
      "what the plan of a run depends on, beside the options (default: random)",
      integer("--seed", 0, SEED_MAX),
    )
    .option(
      "--nodes <n>",
      "worker threads that act as NUMA nodes, 1 to 64",
      integer("--nodes", 1, 64),
      2,
    )
    .option("--guests <n>", "guests, 1 to 4096", integer("--guests", 1, 4096), 4)
    .option("--vcpus <n>", "vCPUs of each guest, 1 to 64", integer("--vcpus", 1, 64), 2)
    .option("--ksmd <n>", "threads that merge: 1", integer("--ksmd", 1, 1), 1)
    .option(
      "--migrators <n>",
      "threads that move frames, 1 to 64",
      integer("--migrators", 1, 64),
      1,
    )
    .option(
      "--memory-per-node <size>",
      "memory of each node: bytes, or with K, M, G, KiB, MiB, GiB; guests fill half of it " +
        "(default: 16M)",
      (text) => parseSize("--memory-per-node", text),
    );
}

export function stressOptionsOf(flags: StressFlags): StressOptions {
  const seed = randomInt(SEED_MAX + 1);
  return { seed, memoryPerNode: MEMORY_PER_NODE, json: false, dump: null, quiet: false, ...flags };
}
