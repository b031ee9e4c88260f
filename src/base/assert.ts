/**
 * assert - checks of our own work, O(1) each, always on. The id is that of an invariant in a file header.
 *
 * Whole-structure checks are not assertions: they are `check()` (machine/check.ts).
 */
import { InvariantError } from "./errors.js";

export function assert(condition: boolean, id: string, message: string): asserts condition {
  if (!condition) throw new InvariantError(id, message);
}

/** The end of an exhaustive switch. */
export function unreachable(value: never): never {
  throw new InvariantError("UNREACHABLE", `unexpected ${String(value)}`);
}
