/**
 * bad-input - what the user can mend: one line on stderr, exit 2, nothing on stdout.
 *
 * It may be thrown in a node worker: messages between threads keep the name of an error, not its class.
 */
import { printable } from "./printable.js";

const NAME = "BadInput";

/** The line is `pagefold: THING: what is wrong; the mend`. */
export class BadInput extends Error {
  constructor(thing: string, wrong: string, mend: string) {
    super(printable(`${thing}: ${wrong}; ${mend}`));
    this.name = NAME;
  }
}

export function isBadInput(error: unknown): error is Error {
  return error instanceof Error && error.name === NAME;
}

/** The error code of the operating system, or the message of any other error. */
export function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
