/**
 * failure - what an error that ends the command says on standard error, and its exit status.
 */
import { PagefoldError } from "../base/errors.js";
import { BadInput, isBadInput, reasonOf } from "./bad-input.js";
import { printable } from "./printable.js";

export const DONE = 0;
export const FAILED = 1;
const BAD_INPUT = 2;

/** One line; the stack of an error that nobody foresaw is behind PAGEFOLD_DEBUG. */
export function reportFailure(thrown: unknown): number {
  const error = asBadInput(thrown);
  if (isBadInput(error)) {
    say(error.message);
    return BAD_INPUT;
  }
  if (error instanceof PagefoldError) {
    say(`${error.code}: ${error.message}`);
  } else {
    const mend = "run again with PAGEFOLD_DEBUG=1 and report what it prints";
    say(`unexpected: ${reasonOf(error)}; ${mend}`);
  }
  if (process.env.PAGEFOLD_DEBUG && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
  return FAILED;
}

/** One line on standard error. */
export function say(line: string): void {
  process.stderr.write(`pagefold: ${printable(line)}\n`);
}

/** What only the engine can judge: some options, and whether there is so much memory. */
function asBadInput(error: unknown): unknown {
  if (!(error instanceof PagefoldError)) return error;
  const { option, value, accepted } = error.details;
  if (error.code === "PAGEFOLD_BAD_OPTION" && Array.isArray(accepted)) {
    const mend = `choose one of ${accepted.join(", ")}`;
    return new BadInput(`--${option} ${value}`, "is not available", mend);
  }
  if (error.code === "PAGEFOLD_NO_MEMORY") {
    const wrong = "an engine for them needs more address space than this process may have";
    const mend = "name fewer at once, or raise the limit (ulimit -v)";
    return new BadInput("sources", wrong, mend);
  }
  return error;
}
