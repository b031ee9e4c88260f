/**
 * command-line - the arguments of `pagefold`: what there is, what it says in --help, and what is wrong.
 */
import { existsSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { BadInput } from "./bad-input.js";
import { HELP, RUN_HELP, STRESS_HELP } from "./help.js";
import type { RunOptions } from "./options.js";
import { description, version } from "./package.js";
import { addRunOptions, type RunFlags, runOptionsOf } from "./run-options.js";
import { addStressOptions, type StressFlags, stressOptionsOf } from "./stress/flags.js";
import type { StressOptions } from "./stress/options.js";

type Request =
  | { readonly command: "run"; readonly options: RunOptions }
  | { readonly command: "stress"; readonly options: StressOptions };

/** What to do; null when commander has printed help or the version. Throws BadInput. */
export function parseCommandLine(args: readonly string[]): Request | null {
  let parsed: Request | null = null;
  const program = createProgram((request) => {
    parsed = request;
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

function createProgram(action: (request: Request) => void): Command {
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
  addRunOptions(run);
  run.addHelpText("after", RUN_HELP).action((sources: string[], flags: RunFlags) => {
    action({ command: "run", options: runOptionsOf(sources, flags) });
  });
  const stress = quiet(program.command("stress"))
    .description("do everything at once to made-up memory, and check each byte that is read")
    .helpOption("-h, --help", "print this help");
  addStressOptions(stress);
  stress.addHelpText("after", STRESS_HELP).action((flags: StressFlags) => {
    action({ command: "stress", options: stressOptionsOf(flags) });
  });
  return program;
}

/** Errors are thrown, not printed. */
function quiet(command: Command): Command {
  return command.exitOverride().configureOutput({ writeErr: () => {}, outputError: () => {} });
}

/** Commander's message, as a line like all others. */
function usageError({ code, message }: CommanderError, args: readonly string[]): BadInput {
  const quoted = /'([^']*)'/.exec(message)?.[1] ?? "arguments";
  const nearest = /Did you mean (?:one of )?(.*)\?/.exec(message)?.[1];
  const hint = `see pagefold ${args[0] === "stress" ? "stress" : "run"} --help`;
  const mend = nearest === undefined ? hint : `did you mean ${nearest}?`;
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
      return new BadInput(quoted.split(" ")[0] as string, "its value is missing", hint);
    case "commander.excessArguments":
      return new BadInput(args[0] as string, "takes options only", hint);
    case "commander.help":
      return new BadInput(`help ${args.at(-1)}`, noCommand, "see pagefold --help");
    default:
      return new BadInput("arguments", message.replace(/^error: /, ""), hint);
  }
}
