/**
 * vcpu - the public vCPU: byte addresses, sections, safe by default.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import type { VcpuId } from "../base/units.js";
import { disownVcpu } from "../mm/shootdown.js";
import {
  abandonSections,
  beginSection,
  createTlb,
  endSection,
  pollSafepoint,
  type Tlb,
} from "../mm/tlb.js";
import {
  type Accessors,
  checkRange,
  createAccessors,
  fillBytes,
  readBytes,
  writeBytes,
} from "../mm/vcpu.js";

/**
 * A thread of execution inside a guest; belongs to the thread that made it. Single accesses enter and
 * leave guest mode by themselves; inside `run` they are plain loads and stores. Words
 * are little-endian; bytes that two vCPUs write at once are theirs to order. Accesses throw as those of Guest do.
 */
export class Vcpu {
  /** Number of the vCPU, as `stats()` names it. */
  readonly id: VcpuId;
  /** Unsigned byte at `address`. */
  readonly load8: Accessors["load8"];
  /** Signed 32-bit word at `address`; need not be aligned. */
  readonly load32: Accessors["load32"];
  /** Stores the low 8 bits of `value` at `address`. */
  readonly store8: Accessors["store8"];
  /** Stores the low 32 bits of `value` at `address`; need not be aligned. */
  readonly store32: Accessors["store32"];
  readonly #tlb: Tlb;

  /** @internal */
  constructor(memory: Memory, vcpu: VcpuId) {
    this.id = vcpu;
    this.#tlb = createTlb(memory, vcpu);
    const accessors = createAccessors(this.#tlb);
    this.load8 = accessors.load8;
    this.load32 = accessors.load32;
    this.store8 = accessors.store8;
    this.store32 = accessors.store32;
  }

  /**
   * Runs `body` in guest mode: accesses that hit cost nanoseconds. Sections nest. While inside, the
   * thread owes safepoints: any access that misses is one; a loop without accesses calls `poll`. Returns
   * what `body` returns; a promise is refused with PAGEFOLD_IN_SECTION, because a section that waits stops ksmd
   * and other vCPUs.
   */
  run<T>(body: (vcpu: this) => T): T {
    checkRange(this.#tlb, 0, 0);
    beginSection(this.#tlb);
    let result: T;
    try {
      result = body(this);
    } finally {
      endSection(this.#tlb);
    }
    if (isPromise(result)) {
      // Its failure, if any, is the less important news.
      result.then(undefined, () => {});
      throw new PagefoldError(
        "PAGEFOLD_IN_SECTION",
        "a section returned a promise; await outside of run(), and enter it again afterwards",
      );
    }
    return result;
  }

  /** A safepoint, for loops inside `run` that touch no guest memory; outside of `run` it does nothing. */
  poll(): void {
    pollSafepoint(this.#tlb);
  }

  /** Copies bytes from `address` on into `target`, or into a new array of `target` bytes; returns it. */
  read(address: number, target: Uint8Array | number): Uint8Array {
    if (typeof target === "number") checkRange(this.#tlb, address, target);
    const bytes = typeof target === "number" ? new Uint8Array(target) : checkBytes(target);
    readBytes(this.#tlb, address, bytes);
    return bytes;
  }

  /** Copies `source` into the guest at `address`. */
  write(address: number, source: Uint8Array): void {
    writeBytes(this.#tlb, address, checkBytes(source));
  }

  /** Fills `length` bytes from `address` on with `byte`, 0 to 255. */
  fill(address: number, length: number, byte: number): void {
    fillBytes(this.#tlb, address, length, byte);
  }

  /**
   * Gives the vCPU back; another thread of the guest may take it. Throws PAGEFOLD_IN_SECTION inside its own
   * `run`. Closing twice is fine.
   */
  close(): void {
    if (this.#tlb.depth > 0 && !this.#tlb.closed) {
      throw new PagefoldError(
        "PAGEFOLD_IN_SECTION",
        "a vCPU cannot be closed inside its own section",
      );
    }
    this.abandon();
  }

  /** Closes it, with whatever sections an error left open. @internal */
  abandon(): void {
    if (this.#tlb.closed) return;
    abandonSections(this.#tlb);
    disownVcpu(this.#tlb.memory, this.id);
  }

  /** Pins are made through it. @internal */
  get tlb(): Tlb {
    return this.#tlb;
  }
}

function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | null | undefined)?.then === "function";
}

/** Plain JavaScript may pass anything. */
function checkBytes(bytes: Uint8Array): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes;
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    "bytes are read into and written from a Uint8Array",
    {
      given: typeof bytes,
    },
  );
}
