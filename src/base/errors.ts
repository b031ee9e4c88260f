/**
 * errors - misuse and exhaustion have a stable code; a broken invariant stops the machine.
 *
 * Expected races are neither: they are outcomes, small constants next to the function that returns them.
 */

/** Every `code` of a PagefoldError, with what it means. The mends are in `docs/embedding.md`. */
export const ERROR_CODES = {
  PAGEFOLD_BAD_OPTION: "an option is missing, unknown or out of its range",
  PAGEFOLD_BAD_ADDRESS: "an address or a length lies outside the guest",
  PAGEFOLD_NO_FRAME: "every frame of every node is in use",
  PAGEFOLD_NO_MEMORY: "the system does not give this process so much memory",
  PAGEFOLD_NO_ROOM: "a table that is sized at creation (guests, vCPUs, pages, threads) is full",
  PAGEFOLD_VCPU_STUCK: "a vCPU of the guest did not reach a safepoint in time",
  PAGEFOLD_THREAD_STUCK: "a thread did not take part in a change of blocks in time",
  PAGEFOLD_BLOCK_BUSY: "a block cannot go offline: frames of it cannot be moved away",
  PAGEFOLD_IN_SECTION:
    "an operation that may wait was called inside a run section, or a section returned a promise",
  PAGEFOLD_CLOSED: "the engine, the guest, the vCPU or the pin is closed",
  PAGEFOLD_CRASHED: "a worker of the engine died",
  PAGEFOLD_NOT_RUNNING: "ksmd is stopped (run is not 1)",
  PAGEFOLD_HAS_WORKERS: "the operation needs an engine without workers",
  PAGEFOLD_BAD_WASM: "the kernels cannot run here, or were not built",
  PAGEFOLD_INVARIANT: "an invariant of pagefold is broken: a bug",
  EINVAL: "a knob was given a value it does not accept",
  EBUSY:
    "the knob cannot change while pages are merged, or a frame that is unmerged is moved again and again",
  ENOMEM: "unmerging needs more frames than are free",
} as const;

/** One of the codes of `ERROR_CODES`. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** An error that the caller can mend: its message says how. */
export class PagefoldError extends Error {
  /** What went wrong; stable, to be compared with. */
  readonly code: ErrorCode;
  /** The numbers and names that the message speaks of. */
  readonly details: Readonly<Record<string, unknown>>;

  /** Made by the library. */
  constructor(
    code: ErrorCode,
    message: string,
    details: Record<string, unknown> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = "PagefoldError";
    this.code = code;
    this.details = details;
  }
}

/** A broken invariant: a bug of pagefold, never of its caller. `code` is PAGEFOLD_INVARIANT. */
export class InvariantError extends PagefoldError {
  /** The invariant, as the header of a source file numbers it: "PTE-3". */
  readonly id: string;

  /** Made by the library. */
  constructor(id: string, message: string, dump: Record<string, unknown> = {}) {
    super("PAGEFOLD_INVARIANT", `${id}: ${message}`, dump);
    this.name = "InvariantError";
    this.id = id;
  }
}
