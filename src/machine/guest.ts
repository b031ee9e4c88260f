/**
 * guest - the public guest: an address space, in bytes.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import { type GuestId, type Nid, PAGE_SIZE } from "../base/units.js";
import { guestIsLive, guestNode, guestPages } from "../mm/guest.js";
import { openVcpu } from "../mm/vcpu.js";
import type { CallOptions } from "./channel.js";
import type { Command } from "./commands.js";
import type { MigrationResult } from "./migration.js";
import { Pin } from "./pin.js";
import { checkProgram } from "./program.js";
import { Vcpu } from "./vcpu.js";

/**
 * A guest as any attached thread sees it: an address space from 0 to `bytes`. Accesses are synchronous, may cross
 * page borders, and use a vCPU of this thread's that the first one makes. A page without a frame reads as zeros;
 * the first write gives it one. Writes, fills and pins throw PAGEFOLD_NO_FRAME when every frame is in use, and
 * PAGEFOLD_VCPU_STUCK when a merged page cannot be copied because a vCPU reaches no safepoint; any access throws
 * PAGEFOLD_BAD_ADDRESS outside of the guest, and PAGEFOLD_CLOSED once the engine is closed or left. The page at
 * which an access failed is as it was; pages before it may have been written.
 */
export class Guest {
  /** Number of the guest, in order of creation from 0. */
  readonly id: GuestId;
  /** What messages call it. */
  readonly name: string;
  readonly #memory: Memory;
  #own: Vcpu | null = null;
  /** Those that were handed out, and the own one: they end with the guest's handle. */
  readonly #vcpus = new Set<Vcpu>();
  #closed = false;

  /** @internal */
  constructor(memory: Memory, id: GuestId, name = `guest${id}`) {
    if (!Number.isInteger(id) || id < 0 || id >= memory.sizes.guests || !guestIsLive(memory, id)) {
      throw new PagefoldError("PAGEFOLD_BAD_OPTION", `there is no guest ${id}`, { guest: id });
    }
    this.#memory = memory;
    this.id = id;
    this.name = name;
  }

  /** Bytes of the guest: a whole number of pages. */
  get bytes(): number {
    return guestPages(this.#memory, this.id) * PAGE_SIZE;
  }

  /** Home node: frames for its pages are taken there first. */
  get node(): Nid {
    return guestNode(this.#memory, this.id);
  }

  /** A vCPU for this thread; `close` it when done. Throws PAGEFOLD_NO_ROOM when `maxVcpus` are in use. */
  vcpu(): Vcpu {
    if (this.#closed) {
      throw new PagefoldError("PAGEFOLD_CLOSED", `${this.name} is closed, as its engine is`);
    }
    const vcpu = new Vcpu(this.#memory, openVcpu(this.#memory, this.id));
    this.#vcpus.add(vcpu);
    return vcpu;
  }

  /**
   * Copies bytes from `address` on into `target`, or into a new array of `target` bytes; returns it. Bytes that
   * others write meanwhile may come out old or new, each by itself.
   */
  read(address: number, target: Uint8Array | number): Uint8Array {
    return this.#access().read(address, target);
  }

  /** Copies `source` into the guest at `address`. */
  write(address: number, source: Uint8Array): void {
    this.#access().write(address, source);
  }

  /** Fills `length` bytes from `address` on with `byte`, 0 to 255. */
  fill(address: number, length: number, byte: number): void {
    this.#access().fill(address, length, byte);
  }

  /** Holds `length` bytes from `address` on where they are, to be read and written in place until `release`. */
  pin(address: number, length: number): Pin {
    return new Pin(this.#access().tlb, address, length);
  }

  /** This thread's vCPU for single accesses, made at the first. */
  #access(): Vcpu {
    this.#own ??= this.vcpu();
    return this.#own;
  }

  /** @internal */
  close(): void {
    this.#closed = true;
    for (const vcpu of this.#vcpus) vcpu.abandon();
    this.#vcpus.clear();
    this.#own = null;
  }
}

/** What the engine does for its guests. @internal */
export interface GuestHost {
  moveToNode(guest: Guest, to: Nid, options?: CallOptions): Promise<MigrationResult>;
  command(command: Command, options?: CallOptions): Promise<unknown>;
  runProgram(
    guest: Guest,
    program: URL | string,
    args: unknown,
    options?: CallOptions,
  ): Promise<unknown>;
}

/** A guest as the thread that created the engine sees it: it may run programs in it, and say what may be merged. */
export class EngineGuest extends Guest {
  readonly #host: GuestHost;
  /** Settles as the program that the guest was created with; resolves with undefined without one. */
  readonly finished: Promise<unknown>;

  /** @internal */
  constructor(
    memory: Memory,
    host: GuestHost,
    id: GuestId,
    name: string,
    program: () => Promise<unknown>,
  ) {
    super(memory, id, name);
    this.#host = host;
    this.finished = program();
    // Whoever awaits it sees the error; whoever does not is told by the engine's "crash" or by close().
    this.finished.catch(() => {});
  }

  /**
   * Runs the default export of a module on the guest's node, with a vCPU of the guest; resolves with what
   * it returns. Aborting the call rejects it and aborts the program's own signal. See GuestProgram.
   */
  async run(program: URL | string, args?: unknown, options?: CallOptions): Promise<unknown> {
    checkProgram(program);
    return this.#host.runProgram(this, program, args, options);
  }

  /**
   * Pages of these bytes, by default all, may be merged from now on (MADV_MERGEABLE). PAGEFOLD_BAD_ADDRESS unless
   * both ends are at multiples of 4 KiB.
   */
  async mergeable(
    address = 0,
    length = this.bytes - address,
    options?: CallOptions,
  ): Promise<void> {
    const { from, to } = this.#pages(address, length);
    await this.#host.command({ kind: "mergeable", guest: this.id, from, to }, options);
  }

  /**
   * Gives each page of these bytes, by default all, a frame of its own; they are not merged from now on
   * (MADV_UNMERGEABLE). ENOMEM: there are too few frames; PAGEFOLD_VCPU_STUCK: a vCPU reached no safepoint; EBUSY:
   * migrators move a frame of theirs again and again. Pages then are merged or private, none is lost, and the call
   * may be repeated.
   */
  async unmergeable(
    address = 0,
    length = this.bytes - address,
    options?: CallOptions,
  ): Promise<void> {
    const { from, to } = this.#pages(address, length);
    await this.#host.command({ kind: "unmergeable", guest: this.id, from, to }, options);
  }

  /**
   * Makes `node` the guest's home and moves the frames of its pages there, merged ones with all their sharers.
   * What could not be moved is told by reason and stays where it was; the call may be repeated. Throws
   * PAGEFOLD_BAD_OPTION for a node that there is not.
   */
  async moveToNode(node: Nid, options?: CallOptions): Promise<MigrationResult> {
    return await this.#host.moveToNode(this, node, options);
  }

  #pages(address: number, length: number): { from: number; to: number } {
    const aligned = address % PAGE_SIZE === 0 && length % PAGE_SIZE === 0;
    if (!aligned || address < 0 || length < 0 || address + length > this.bytes) {
      throw new PagefoldError(
        "PAGEFOLD_BAD_ADDRESS",
        `a region of ${this.name} begins and ends at multiples of ${PAGE_SIZE} within ${this.bytes} bytes, ` +
          `not at ${address} and ${address + length}`,
        { guest: this.id, address, length },
      );
    }
    return { from: address / PAGE_SIZE, to: (address + length) / PAGE_SIZE };
  }
}
