/**
 * memory-reader - the pages of a live process, a chunk at a time; in the node workers.
 *
 * The process runs on, so pages may have gone since they were listed: they are left out and counted.
 */
import { PAGE_SIZE } from "../../../base/units.js";
import { BadInput, reasonOf } from "../../bad-input.js";
import { CHUNK_BYTES, type Chunk } from "../chunk.js";
import type { ProcessData } from "../source.js";
import { GONE, NO_PAGE, readMemory } from "./memory.js";

/** Pages that have gone between two chunks, at most: finding out takes longer than reading. */
const GONE_MAX = 1024;

/** Reads the listed pages once, page n of the list to page n of the guest. */
export class ProcessMemory {
  readonly #data: ProcessData;
  readonly #buffer = Buffer.alloc(CHUNK_BYTES);
  /** Where in the guest the buffer begins, and how much of it is filled. */
  #address = 0;
  #filled = 0;
  #unreadable = 0;

  constructor(data: ProcessData) {
    this.#data = data;
  }

  /** Pages that had gone. */
  get unreadable(): number {
    return this.#unreadable;
  }

  /** Chunks may be empty: whoever loads a guest hears others between them. Throws BadInput when the process ends. */
  *chunks(): Generator<Chunk, void> {
    const { starts, pages } = this.#data.ranges;
    for (let i = 0; i < starts.length; i++) {
      yield* this.#range(starts[i] as number, (pages[i] as number) * PAGE_SIZE);
    }
    yield* this.#flush(0);
  }

  /** Pages behind each other in the process; in the guest they follow those of the ranges before. */
  *#range(start: number, bytes: number): Generator<Chunk, void> {
    for (let done = 0; done < bytes; ) {
      const got = this.#read(start + done, bytes - done);
      if (got === NO_PAGE) {
        if (this.#filled > 0 || this.#unreadable % GONE_MAX === 0) yield* this.#flush(PAGE_SIZE);
        else this.#address += PAGE_SIZE;
        this.#unreadable++;
        done += PAGE_SIZE;
      } else {
        this.#filled += got;
        done += got;
        if (this.#filled === CHUNK_BYTES) yield* this.#flush(0);
      }
    }
  }

  /** Fills the buffer on, with `bytes` at most. */
  #read(address: number, bytes: number): number {
    const offset = this.#address + this.#filled;
    const room = this.#buffer.subarray(this.#filled, this.#filled + bytes);
    let got: number;
    try {
      got = readMemory(this.#data.memory, room, address);
    } catch (error) {
      const wrong = `cannot be read at ${this.#where(offset, address)} (${reasonOf(error)})`;
      throw new BadInput(this.#data.spec, wrong, "name another process");
    }
    if (got !== GONE) return got;
    const wrong = `ended or started another program at ${this.#where(offset, address)}`;
    throw new BadInput(this.#data.spec, wrong, "name a process that lives on while it is read");
  }

  #where(offset: number, address: number): string {
    const pages = this.#data.ranges.pages.reduce((sum, each) => sum + each, 0);
    return `byte ${offset} of ${pages * PAGE_SIZE} (address 0x${address.toString(16)})`;
  }

  /** Hands out what the buffer has; what comes next lies `gap` bytes behind it in the guest. */
  *#flush(gap: number): Generator<Chunk, void> {
    const [address, filled] = [this.#address, this.#filled];
    this.#address += filled + gap;
    this.#filled = 0;
    yield { address, bytes: this.#buffer.subarray(0, filled) };
  }
}
