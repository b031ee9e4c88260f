/**
 * closed-form - what KSM's counters must read after a static fill has been scanned to the end.
 *
 * Holds with smart_scan and use_zero_pages off, one tree for the machine, two or more full scans since
 * the last write, no forks, no swap, no pins. A content that occurs n times under max_page_sharing = M
 * fills whole KSM pages of M sharers; a rest of two or more opens one further KSM page; a rest of one
 * finds no partner and stays unshared. A content with several KSM pages is a chain, each page a dup.
 */

import { createHash } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";

export interface ClosedForm {
  pages_shared: number;
  pages_sharing: number;
  pages_unshared: number;
  pages_volatile: number;
  stable_node_chains: number;
  stable_node_dups: number;
}

const PAGE = 4096;
const CHUNK = 1024 * PAGE;

/** The counters for contents that occur `counts` times each (order does not matter). */
export function closedForm(counts: Iterable<number>, maxPageSharing: number): ClosedForm {
  if (!Number.isInteger(maxPageSharing) || maxPageSharing < 2) {
    throw new RangeError(`max_page_sharing is ${maxPageSharing}, not an integer >= 2`);
  }
  const sum: ClosedForm = {
    pages_shared: 0,
    pages_sharing: 0,
    pages_unshared: 0,
    pages_volatile: 0,
    stable_node_chains: 0,
    stable_node_dups: 0,
  };
  for (const count of counts) {
    const rest = count % maxPageSharing;
    const ksmPages = Math.floor(count / maxPageSharing) + (rest >= 2 ? 1 : 0);
    const leftover = rest === 1 ? 1 : 0;
    sum.pages_shared += ksmPages;
    sum.pages_sharing += count - ksmPages - leftover;
    sum.pages_unshared += leftover;
    if (ksmPages >= 2) {
      sum.stable_node_chains += 1;
      sum.stable_node_dups += ksmPages;
    }
  }
  return sum;
}

/** How often each content occurs, by the sha-256 of the page; the tail of a page is zeros. */
export class ContentCounts {
  readonly byContent = new Map<string, number>();
  pages = 0;

  /** The key of the page that is all zeros: with use_zero_pages on, take it out of `byContent`. */
  static readonly zero = contentOf(new Uint8Array(PAGE));

  add(page: Uint8Array): void {
    const key = contentOf(page);
    this.byContent.set(key, (this.byContent.get(key) ?? 0) + 1);
    this.pages += 1;
  }

  /** Adds every page of `bytes`. */
  addBytes(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += PAGE) this.add(bytes.subarray(at, at + PAGE));
  }

  /** Adds every page of a file, read in pieces: files may be larger than a Buffer. */
  addFile(file: string): void {
    const chunk = Buffer.alloc(CHUNK);
    const fd = openSync(file, "r");
    try {
      for (;;) {
        let filled = 0;
        while (filled < CHUNK) {
          const got = readSync(fd, chunk, filled, CHUNK - filled, null);
          if (got === 0) break;
          filled += got;
        }
        this.addBytes(chunk.subarray(0, filled));
        if (filled < CHUNK) return;
      }
    } finally {
      closeSync(fd);
    }
  }

  closedForm(maxPageSharing: number): ClosedForm {
    return closedForm(this.byContent.values(), maxPageSharing);
  }
}

export function countPages(pages: Iterable<Uint8Array>): ContentCounts {
  const counts = new ContentCounts();
  for (const page of pages) counts.add(page);
  return counts;
}

export function countFiles(files: Iterable<string>): ContentCounts {
  const counts = new ContentCounts();
  for (const file of files) counts.addFile(file);
  return counts;
}

function contentOf(page: Uint8Array): string {
  if (page.length > PAGE) throw new RangeError(`a page of ${page.length} bytes`);
  const hash = createHash("sha256").update(page);
  if (page.length < PAGE) hash.update(new Uint8Array(PAGE - page.length));
  return hash.digest("base64");
}
