/**
 * assert - checks of our own work, O(1) each, always on. The id is that of an invariant in a file header.
 *
 * Messages are constants and numbers go beside them, so a check that holds builds no string.
 * Whole-structure checks are not assertions: they are `check()` (machine/check.ts).
 */
import { InvariantError } from "./errors.js";

/** Stops the machine unless `condition`; `a` and `b` are the numbers that the message speaks of. */
export function assert(
  condition: boolean,
  id: string,
  message: string,
  a?: number,
  b?: number,
): asserts condition {
  if (!condition) throw new InvariantError(id, `${message} (${a}, ${b})`, { a, b });
}
