/**
 * system-error - errors of the operating system, as Node throws them; all others are somebody's bug.
 */
export function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).errno === "number";
}
