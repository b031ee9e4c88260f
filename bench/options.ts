/** options - the arguments of `npm run bench --`. */
import { closeSync, openSync } from "node:fs";
import { Command, CommanderError } from "commander";

export interface Options {
  readonly quick: boolean;
  /** Part of the names of what is measured; null: everything. */
  readonly filter: string | null;
  /** Where the figures go as JSON; null: nowhere. */
  readonly json: string | null;
}

/** What the user can mend: one line, exit status 2. */
export class BadOption extends Error {
  constructor(thing: string, wrong: string, mend: string) {
    super(`${thing}: ${wrong}; ${mend}`);
    this.name = "BadOption";
  }
}

/** The options; null when help was printed. Throws BadOption. */
export function parseOptions(args: readonly string[], names: readonly string[]): Options | null {
  const help = `
What is measured: ${names.join(", ")}.

The kernel's KSM is used where this is Linux, root and python3 are there and nobody
else uses it, and given back with every knob as it was; PAGEFOLD_KERNEL_KSM=0 leaves
it alone. A quick run uses it only with PAGEFOLD_KERNEL_KSM=1 or CI=true.

Exit status: 0 done; 1 a row is void: bytes or the engine's audit were wrong;
2 bad options.
`;
  const command = new Command("npm run bench --")
    .description("How fast pagefold is, beside the Linux kernel and stock JavaScript.")
    .option("--quick", "tiny sizes: whether it works, not how fast it is")
    .option("--filter <text>", "only what has this text in its name")
    .option("--json <file>", "write the figures to a file, too")
    .addHelpText("after", help)
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({ writeErr: () => {}, outputError: () => {} });
  try {
    command.parse(args, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return null;
    const wrong = error.message.replace(/^error: /, "").split("\n")[0] as string;
    throw new BadOption(args.join(" "), wrong, "see npm run bench -- --help");
  }
  const { quick = false, filter = null, json = null } = command.opts<Partial<Options>>();
  checkFilter(filter, names);
  checkFile(json);
  return { quick, filter, json };
}

function checkFilter(filter: string | null, names: readonly string[]): void {
  if (filter === null || names.some((name) => name.includes(filter))) return;
  throw new BadOption(
    `--filter ${filter}`,
    "nothing has that name",
    `there is ${names.join(", ")}`,
  );
}

/** Minutes later would be too late to hear it. */
function checkFile(file: string | null): void {
  if (file === null) return;
  try {
    closeSync(openSync(file, "a"));
  } catch (error) {
    const wrong = `it cannot be written (${(error as NodeJS.ErrnoException).code})`;
    throw new BadOption(`--json ${file}`, wrong, "name another file");
  }
}
