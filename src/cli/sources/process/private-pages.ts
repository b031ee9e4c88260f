/**
 * private-pages - where the private anonymous pages of a process are, as its smaps and pagemap say.
 *
 * Everything here only reads: the process is neither stopped nor written to. Others are heard meanwhile,
 * for an address space of terabytes has gigabytes of pagemap, however few its pages are.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { setImmediate } from "node:timers/promises";
import { PAGE_SIZE } from "../../../base/units.js";
import type { PageRanges } from "../source.js";

/** Mappings that the kernel puts into every process: they are its own. */
const KERNEL_MAPPINGS = new Set(["[vdso]", "[vsyscall]", "[vvar]", "[vvar_vclock]"]);

/** Bytes of pagemap that are read at once: entries for 256 MiB of addresses. */
const PAGEMAP_CHUNK = 512 * 1024;
const ENTRY_BYTES = 8;
/** The upper half of a pagemap entry. */
const PRESENT = 1 << 31;
const SWAPPED = 1 << 30;
const FILE_OR_SHARED = 1 << 29;
const GUARD = 1 << 26;

interface Mapping {
  readonly start: number;
  readonly end: number;
}

/**
 * The pages that pagemap calls present or swapped and not file-backed, in order of their addresses.
 * Rejects with what reading smaps and pagemap throws, and when `signal` is aborted.
 */
export async function privatePages(pid: number, signal: AbortSignal): Promise<PageRanges> {
  const smaps = await readFile(`/proc/${pid}/smaps`, { encoding: "utf8", signal });
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r");
  try {
    const ranges = new RangeList();
    let unheard = 0;
    for (const { address, entries } of pagemapChunks(pagemap, mappingsWithPages(smaps))) {
      addPrivate(entries, address, ranges);
      unheard += entries.byteLength;
      if (unheard < PAGEMAP_CHUNK) continue;
      unheard = 0;
      await setImmediate();
      signal.throwIfAborted();
    }
    return ranges.done();
  } finally {
    closeSync(pagemap);
  }
}

/** Private mappings, but for those that nobody may access and that have nothing, as guard regions. */
function mappingsWithPages(smaps: string): Mapping[] {
  // File names may hold what else ends a line for a regular expression.
  const blocks = smaps.split(/\n(?=[0-9a-f])/);
  return blocks.flatMap((block) => {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (...)p \S+ \S+ \S+ *([^\n]*)/.exec(block);
    if (head === null) return [];
    const [, start = "", end = "", rights, name = ""] = head;
    if (KERNEL_MAPPINGS.has(name)) return [];
    // Of others it does not tell: a page that was only ever read is the kernel's page of zeros, and not
    // counted.
    if (rights === "---" && !/\n(?:Anonymous|Swap): +[1-9]/.test(block)) return [];
    return [{ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16) }];
  });
}

interface PagemapChunk {
  /** Of the page that the first entry is about. */
  readonly address: number;
  /** Two words each; overwritten by the next chunk. */
  readonly entries: Uint32Array;
}

function* pagemapChunks(
  pagemap: number,
  mappings: readonly Mapping[],
): Generator<PagemapChunk, void> {
  const words = new Uint32Array(PAGEMAP_CHUNK / 4);
  for (const { start, end } of mappings) {
    const last = (end / PAGE_SIZE) * ENTRY_BYTES;
    for (let offset = (start / PAGE_SIZE) * ENTRY_BYTES; offset < last; ) {
      const got = readSync(pagemap, words, 0, Math.min(PAGEMAP_CHUNK, last - offset), offset);
      // The process has gone: reading its memory will tell.
      if (got === 0) return;
      const address = (offset / ENTRY_BYTES) * PAGE_SIZE;
      yield { address, entries: words.subarray(0, got / 4) };
      offset += got;
    }
  }
}

function addPrivate(entries: Uint32Array, address: number, ranges: RangeList): void {
  const pages = entries.byteLength / ENTRY_BYTES;
  if (isUniform(entries)) {
    if (isPrivate(entries[1] as number)) ranges.add(address, pages);
    return;
  }
  for (let page = 0; page < pages; page++) {
    if (isPrivate(entries[2 * page + 1] as number)) ranges.add(address + page * PAGE_SIZE, 1);
  }
}

/** Whether all entries are the same, as those of memory that was never touched. */
function isUniform({ buffer, byteOffset, byteLength }: Uint32Array): boolean {
  const bytes = Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength);
  return bytes.subarray(ENTRY_BYTES).equals(bytes.subarray(0, byteLength - ENTRY_BYTES));
}

function isPrivate(flags: number): boolean {
  return (flags & (PRESENT | SWAPPED)) !== 0 && (flags & (FILE_OR_SHARED | GUARD)) === 0;
}

/** Puts pages, given in order, together to ranges. */
class RangeList {
  readonly #starts: number[] = [];
  readonly #pages: number[] = [];
  #next = -1;

  add(address: number, pages: number): void {
    if (address === this.#next) {
      this.#pages[this.#pages.length - 1] += pages;
    } else {
      this.#starts.push(address);
      this.#pages.push(pages);
    }
    this.#next = address + pages * PAGE_SIZE;
  }

  done(): PageRanges {
    return { starts: Float64Array.from(this.#starts), pages: Uint32Array.from(this.#pages) };
  }
}
