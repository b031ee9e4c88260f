/**
 * command-line - the arguments of `pagefold`: what there is, what it says in --help, and what is wrong.
 */
import { existsSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { BadInput } from "./bad-input.js";
import { HELP, RUN_HELP } from "./help.js";
import type { RunOptions } from "./options.js";
import { description, version } from "./package.js";
import { parseSize } from "./size.js";

const HINT = "see pagefold run --help";
const KNOB_MAX = 2 ** 31 - 1;
/** What a timer can wait for, in seconds. */
const SECONDS_MAX = 2_000_000;

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
type Flags = Omit<RunOptions, "sources" | keyof typeof NOT_ASKED | keyof Pace> &
  Partial<RunOptions>;

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

/** What to do; null when commander has printed help or the version. Throws BadInput. */
export function parseCommandLine(args: readonly string[]): RunOptions | null {
  let parsed: RunOptions | null = null;
  const program = createProgram((sources, flags) => {
    parsed = optionsOf(sources, flags);
  });
  if (args.length === 0) {
    program.outputHelp();
    return null;
  }
  try {
    program.parse(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode !== 0) throw usageError(error, args);
  }
  return parsed;
}

function createProgram(action: (sources: string[], flags: Flags) => void): Command {
  const program = new Command("pagefold")
    .description(`${description()}.`)
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command");
  quiet(program).addHelpText("after", HELP);
  const run = quiet(program.command("run"))
    .description("fold the memory of live processes or files, and say what merging saves")
    .argument("[source...]", "FILE, pid:NUMBER or synth:KEY=VALUE,... (see below)")
    .helpOption("-h, --help", "print this help");
  addMachineOptions(run);
  addScanOptions(run);
  addResultOptions(run);
  run.addHelpText("after", RUN_HELP).action(action);
  return program;
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
      "--passes <n>",
      "stop merging after n full passes (default: when nothing changes any more)",
      integer("--passes", 1, KNOB_MAX),
    )
    .option(
      "--seconds <n>",
      "stop merging after n seconds; with --passes, whichever is first",
      seconds,
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

/** Errors are thrown, not printed. */
function quiet(command: Command): Command {
  return command.exitOverride().configureOutput({ writeErr: () => {}, outputError: () => {} });
}

function optionsOf(sources: string[], flags: Flags): RunOptions {
  return { ...NOT_ASKED, ...flags, ...paceOf(flags), sources };
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

function integer(flag: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    const limits = `it takes an integer from ${min} to ${max}`;
    throw new BadInput(`${flag} ${text}`.trimEnd(), "is out of range or no number", limits);
  };
}

function oneOf<T extends string>(
  flag: string,
  names: Readonly<Record<T, true>>,
): (text: string) => T {
  return (text) => {
    if (Object.hasOwn(names, text)) return text as T;
    const mend = `choose one of ${Object.keys(names).join(", ")}`;
    throw new BadInput(`${flag} ${text}`.trimEnd(), "is not available", mend);
  };
}

function seconds(text: string): number {
  const value = Number(text);
  if (/^(\d+(\.\d*)?|\.\d+)$/.test(text) && value > 0 && value <= SECONDS_MAX) return value;
  const limits = `it takes a number above 0, up to ${SECONDS_MAX}`;
  throw new BadInput(`--seconds ${text}`.trimEnd(), "is out of range or no number", limits);
}

/** Commander's message, as a line like all others. */
function usageError({ code, message }: CommanderError, args: readonly string[]): BadInput {
  const quoted = /'([^']*)'/.exec(message)?.[1] ?? "arguments";
  const nearest = /Did you mean (?:one of )?(.*)\?/.exec(message)?.[1];
  const mend = nearest === undefined ? HINT : `did you mean ${nearest}?`;
  const noCommand = "there is no such command";
  switch (code) {
    case "commander.unknownOption":
      return new BadInput(
        quoted,
        "there is no such option",
        existsSync(quoted) ? `./${quoted} is a file` : mend,
      );
    case "commander.unknownCommand":
      return new BadInput(quoted, noCommand, nearest ? mend : "see pagefold --help");
    case "commander.optionMissingArgument":
      // Quoted with what it takes: --nodes <n>.
      return new BadInput(quoted.split(" ")[0] as string, "its value is missing", HINT);
    case "commander.help":
      return new BadInput(`help ${args.at(-1)}`, noCommand, "see pagefold --help");
    default:
      return new BadInput("arguments", message.replace(/^error: /, ""), HINT);
  }
}
