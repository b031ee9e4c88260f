/**
 * proc - what /proc says of a process: who it is, and where its private anonymous pages are.
 *
 * Everything here only reads: the process is neither stopped nor written to.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import { PAGE_SIZE } from "../../../base/units.js";
import type { PageRanges } from "../source.js";

export interface Identity {
  readonly name: string;
  /** A number is given to another process one day; with its start time (clock ticks since boot) it is unique. */
  readonly startTime: string;
  readonly kind: "process" | "kernel thread" | "zombie";
}

const ZOMBIES = new Set(["Z", "X", "x"]);
/** The kernel's PF_KTHREAD. */
const KERNEL_THREAD = 0x00200000;

/** Who a process is; throws what reading /proc/PID/stat throws. */
export function identify(pid: number): Identity {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  // The name stands in brackets and may hold any character, brackets too.
  const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state = "", flags = "0", startTime = ""] = [fields[0], fields[6], fields[19]];
  const isKernelThread = (Number(flags) & KERNEL_THREAD) !== 0;
  const kind = isKernelThread ? "kernel thread" : ZOMBIES.has(state) ? "zombie" : "process";
  return { name, startTime, kind };
}

/**
 * The pages that pagemap calls present or swapped and not file-backed, in order of their addresses.
 * Throws what reading smaps and pagemap throws.
 */
export function privatePages(pid: number): PageRanges {
  const mappings = anonymousMappings(readFileSync(`/proc/${pid}/smaps`, "latin1"));
  const fd = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    const ranges = new RangeList();
    for (const mapping of mappings) collectPages(fd, mapping, ranges);
    return ranges.done();
  } finally {
    closeSync(fd);
  }
}

interface Mapping {
  readonly start: number;
  readonly end: number;
}

/**
 * Mappings that have anonymous or swapped pages, as smaps counts them: a guard region of gigabytes has none,
 * and its pagemap need not be read.
 */
function anonymousMappings(smaps: string): Mapping[] {
  const mappings: Mapping[] = [];
  const blocks = smaps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) ...p .*\n((?:[A-Z].*\n?)*)/gm);
  for (const [, start = "", end = "", fields = ""] of blocks) {
    const kilobytes = /^(?:Anonymous|Swap): +[1-9]/m;
    if (kilobytes.test(fields)) {
      mappings.push({ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) });
    }
  }
  return mappings;
}

/** Bytes of pagemap that are read at once: entries for 256 MiB of addresses. */
const PAGEMAP_CHUNK = 512 * 1024;
const ENTRY_BYTES = 8;
/** The upper half of a pagemap entry. */
const PRESENT = 1 << 31;
const SWAPPED = 1 << 30;
const FILE_OR_SHARED = 1 << 29;
const GUARD = 1 << 26;

function collectPages(fd: number, { start, end }: Mapping, ranges: RangeList): void {
  const buffer = new Uint32Array(PAGEMAP_CHUNK / 4);
  const last = (end / PAGE_SIZE) * ENTRY_BYTES;
  for (let offset = (start / PAGE_SIZE) * ENTRY_BYTES; offset < last; ) {
    const got = readSync(fd, buffer, 0, Math.min(PAGEMAP_CHUNK, last - offset), offset);
    // The mapping is gone, and the process perhaps with it: reading its memory will tell.
    if (got === 0) return;
    for (let entry = 0; entry < got / ENTRY_BYTES; entry++) {
      const page = offset / ENTRY_BYTES + entry;
      if (isPrivate(buffer[2 * entry + 1] as number)) ranges.add(page * PAGE_SIZE);
    }
    offset += got;
  }
}

function isPrivate(flags: number): boolean {
  return (flags & (PRESENT | SWAPPED)) !== 0 && (flags & (FILE_OR_SHARED | GUARD)) === 0;
}

/** Puts pages, given in order, together to ranges. */
class RangeList {
  readonly #starts: number[] = [];
  readonly #pages: number[] = [];
  #next = -1;

  add(address: number): void {
    if (address === this.#next) {
      this.#pages[this.#pages.length - 1]++;
    } else {
      this.#starts.push(address);
      this.#pages.push(1);
    }
    this.#next = address + PAGE_SIZE;
  }

  done(): PageRanges {
    return { starts: Float64Array.from(this.#starts), pages: Uint32Array.from(this.#pages) };
  }
}
