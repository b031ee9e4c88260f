/**
 * failure - why a stress failed, and what is known of it.
 */
import { hex } from "../screen/figures.js";
import type { Done, WrongPage } from "./actor.js";

/**
 * mismatch: a page is not as it was written. check: the audit found something. idle: somebody did nothing.
 * stuck: vCPUs did not pause, or the engine did not answer. error: the engine failed in another way.
 */
type FailureKind = "mismatch" | "check" | "idle" | "stuck" | "error";

export interface Failure {
  readonly kind: FailureKind;
  /** In a line. */
  readonly message: string;
  readonly page: WrongPage | null;
  /** What the vCPU that found it had done, the latest last. */
  readonly recent: readonly Done[];
  /** What the audit found, a line each. */
  readonly problems: readonly string[];
}

/** Ends a stress. */
export class StressError extends Error {
  readonly kind: FailureKind;
  readonly page: WrongPage | null;
  readonly recent: readonly Done[];
  readonly problems: readonly string[];

  constructor(kind: FailureKind, message: string, of: Partial<Failure> = {}) {
    super(message);
    this.kind = kind;
    this.page = of.page ?? null;
    this.recent = of.recent ?? [];
    this.problems = of.problems ?? [];
  }
}

export function failureOf(error: unknown): Failure {
  const { kind, message, page, recent, problems } =
    error instanceof StressError ? error : new StressError("error", textOf(error));
  return { kind, message, page, recent, problems };
}

function textOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === undefined ? message : `${code}: ${message}`;
}

/** The page of a guest that is wrong, in a line. */
export function wrongPageLine(wrong: WrongPage): string {
  const { guest, gfn, vcpu, version, offset, expected, found, content, operation } = wrong;
  const wanted = expected === null ? content : `${hex(expected)} (${content})`;
  return (
    `guest ${guest}: page ${gfn} (version ${version}) is wrong at byte ${offset}: ` +
    `${hex(found)}, not ${wanted}; found by vCPU ${vcpu} (${operation})`
  );
}
