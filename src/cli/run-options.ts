/**
 * run-options - the options of `pagefold run`.
 */
import type { Command } from "commander";
import type { Policy } from "../index.js";
import { BadInput } from "./bad-input.js";
import type { RunOptions } from "./options.js";
import { parseSize } from "./size.js";
import { integer, KNOB_MAX, oneOf, seconds } from "./values.js";

/** Values of options that have no default of commander's. */
const NOT_ASKED = {
  installation: false,
  json: false,
  memoryPerNode: null,
  output: null,
  passes: null,
  quiet: false,
  seconds: null,
} as const;

/** As commander gives them: of those above, what was not asked for is missing. */
export type RunFlags = Omit<
  RunOptions,
  "sources" | "policies" | keyof typeof NOT_ASKED | keyof Pace
> &
  Partial<RunOptions> & { readonly policy?: readonly Policy[] };

const KERNELS = {
  auto: true,
  simd: true,
  scalar: true,
  typescript: true,
  "xxhash-wasm": true,
} as const satisfies Record<RunOptions["kernels"], true>;

const HASHES = {
  auto: true,
  "xxh3-64": true,
  xxh64: true,
} as const satisfies Record<RunOptions["hash"], true>;

type Pace = Pick<RunOptions, "pagesToScan" | "sleepMillisecs">;

const POLICIES = {
  follow: true,
  balance: true,
  compact: true,
  chaos: true,
} as const satisfies Record<Policy, true>;

export function addRunOptions(run: Command): void {
  addMachineOptions(run);
  addScanOptions(run);
  addResultOptions(run);
}

/** What is folded, and on what machine. */
function addMachineOptions(run: Command): void {
  run
    .option("--installation", "fold the files of this installation, beside any SOURCE")
    .option(
      "--nodes <n>",
      "worker threads that act as NUMA nodes, 1 to 64",
      integer("--nodes", 1, 64),
      2,
    )
    .option(
      "--memory-per-node <size>",
      "memory of each node: bytes, or with K, M, G, KiB, MiB, GiB, in powers of 1024 " +
        "(default: what the sources need and an eighth)",
      (text) => parseSize("--memory-per-node", text),
    )
    .option(
      "--migrators <n>",
      "worker threads that move frames between nodes, 0 to 64",
      integer("--migrators", 0, 64),
      1,
    )
    .option(
      "--policy <names>",
      "what they do, separated by commas: follow, balance, compact, chaos; or off " +
        "(default: compact)",
      policies,
    )
    .option(
      "--kernels <name>",
      "code that hashes and compares: simd, scalar, typescript, xxhash-wasm or auto",
      oneOf("--kernels", KERNELS),
      "auto",
    )
    .option(
      "--hash <name>",
      "hash function: xxh3-64, xxh64 or auto",
      oneOf("--hash", HASHES),
      "auto",
    );
}

function addScanOptions(run: Command): void {
  run
    .option(
      "--max-page-sharing <n>",
      "most pages that share one frame, 2 or more",
      integer("--max-page-sharing", 2, KNOB_MAX),
      256,
    )
    .option(
      "--merge-across-nodes <n>",
      "1: merge pages wherever they lie, 0: only pages of one node",
      integer("--merge-across-nodes", 0, 1),
      1,
    )
    .option(
      "--passes <n>",
      "stop merging after n full passes (default: when nothing changes any more)",
      integer("--passes", 1, KNOB_MAX),
    )
    .option(
      "--seconds <n>",
      "stop merging after n seconds; with --passes, whichever is first",
      seconds(null),
    )
    .option(
      "--sleep-millisecs <n>",
      "ksmd's pause between batches (default: none, 20 with --pages-to-scan)",
      integer("--sleep-millisecs", 0, KNOB_MAX),
    )
    .option(
      "--pages-to-scan <n>",
      "pages of a batch, when there is a pause (default: 100)",
      integer("--pages-to-scan", 1, KNOB_MAX),
    );
}

function addResultOptions(run: Command): void {
  run
    .option("--no-verify", "do not read the pages back and compare them")
    .option("--json", "print one JSON document (its schema: pagefold/run.schema.json)")
    .option("--output <file>", "write the result to this file instead of standard output")
    .option("--quiet", "show no progress (there is none without a terminal or in CI)");
}

/** What was asked for, with what was not. Throws BadInput. */
export function runOptionsOf(sources: string[], { policy, ...flags }: RunFlags): RunOptions {
  return {
    ...NOT_ASKED,
    ...flags,
    ...paceOf(flags),
    policies: policiesOf(policy, flags.migrators),
    sources,
  };
}

/** Without migrators there is nobody to follow any. */
function policiesOf(asked: readonly Policy[] | undefined, migrators: number): readonly Policy[] {
  if (asked === undefined) return migrators > 0 ? ["compact"] : [];
  if (asked.length === 0 || migrators > 0) return asked;
  const mend = "give --migrators 1 or more, or --policy off";
  throw new BadInput(`--policy ${asked.join(",")}`, "has nobody to follow it", mend);
}

/** Names with commas between them; off: none. */
function policies(text: string): readonly Policy[] {
  if (text === "off") return [];
  const names = text.split(",").map(oneOf("--policy", { ...POLICIES, off: true }));
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  const wrong = names.includes("off")
    ? "off is no policy beside others"
    : `${twice} is named twice`;
  if (twice === undefined && !names.includes("off")) return names as readonly Policy[];
  throw new BadInput(`--policy ${text}`, wrong, "name each policy once, or off alone");
}

/** Asked for a batch size, ksmd pauses; else it scans flat out. */
function paceOf({ pagesToScan, sleepMillisecs }: Partial<Pace>): Pace {
  if (pagesToScan !== undefined && sleepMillisecs === 0) {
    const mend = "leave it out, or let --sleep-millisecs be at least 1";
    throw new BadInput("--pages-to-scan", "has no effect without pauses", mend);
  }
  return {
    pagesToScan: pagesToScan ?? 100,
    sleepMillisecs: sleepMillisecs ?? (pagesToScan === undefined ? 0 : 20),
  };
}
