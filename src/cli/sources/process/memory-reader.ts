/**
 * memory-reader - the pages of a live process, a chunk at a time; in the node workers.
 *
 * The process runs on, so pages may have gone since they were listed: they are left out and counted.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { PAGE_SIZE } from "../../../base/units.js";
import { BadInput, reasonOf } from "../../bad-input.js";
import { CHUNK_BYTES, type Chunk } from "../chunk.js";
import type { ProcessData } from "../source.js";
import { identify } from "./proc.js";

/** What a read of /proc/PID/mem comes to where no page is mapped. */
const NO_PAGE = -1;

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

  /** Throws BadInput when the process ends. */
  *chunks(): Generator<Chunk, void> {
    const { starts, pages } = this.#data.ranges;
    const fd = openMemory(this.#data);
    try {
      for (let i = 0; i < starts.length; i++) {
        yield* this.#range(fd, starts[i] as number, (pages[i] as number) * PAGE_SIZE);
      }
      yield* this.#flush(0);
    } finally {
      closeSync(fd);
    }
  }

  /** Pages behind each other in the process; in the guest they follow those of the ranges before. */
  *#range(fd: number, start: number, bytes: number): Generator<Chunk, void> {
    for (let done = 0; done < bytes; ) {
      const room = this.#buffer.subarray(this.#filled, this.#filled + bytes - done);
      const got = readMemory(fd, room, start + done);
      if (got === 0) throw ended(this.#data, this.#address + this.#filled, start + done);
      if (got === NO_PAGE) {
        this.#unreadable++;
        yield* this.#flush(PAGE_SIZE);
        done += PAGE_SIZE;
      } else {
        this.#filled += got;
        done += got;
        if (this.#filled === CHUNK_BYTES) yield* this.#flush(0);
      }
    }
  }

  /** Hands out what the buffer has; what comes next lies `gap` bytes behind it in the guest. */
  *#flush(gap: number): Generator<Chunk, void> {
    const [address, filled] = [this.#address, this.#filled];
    this.#address += filled + gap;
    this.#filled = 0;
    if (filled > 0) yield { address, bytes: this.#buffer.subarray(0, filled) };
  }
}

/** Opens the memory of the very process that was looked at, however its number is used by now. */
function openMemory(data: ProcessData): number {
  const { spec, pid, startTime } = data;
  let fd: number | null = null;
  try {
    fd = openSync(`/proc/${pid}/mem`, "r");
    // Opened first: whoever has this start time now had it then.
    if (identify(pid).startTime === startTime) return fd;
  } catch (error) {
    if (fd !== null) closeSync(fd);
    const reason = reasonOf(error);
    if (reason === "ENOENT" || reason === "ESRCH") throw ended(data, 0, data.ranges.starts[0]);
    const mend = "let it keep its rights while it is folded";
    throw new BadInput(spec, `its memory cannot be read any more (${reason})`, mend);
  }
  closeSync(fd);
  throw ended(data, 0, data.ranges.starts[0]);
}

/** Bytes that were read, whole pages; 0: the process has ended; NO_PAGE: nothing is mapped at `address`. */
function readMemory(fd: number, target: Buffer, address: number): number {
  try {
    return readSync(fd, target, 0, target.length, address);
  } catch (error) {
    if (["EIO", "EFAULT"].includes(reasonOf(error))) return NO_PAGE;
    throw error;
  }
}

function ended({ spec, ranges }: ProcessData, offset: number, address = 0): BadInput {
  const bytes = ranges.pages.reduce((sum, pages) => sum + pages * PAGE_SIZE, 0);
  const where = `byte ${offset} of ${bytes} (address 0x${address.toString(16)})`;
  return new BadInput(spec, `ended at ${where}`, "name a process that lives on while it is read");
}
