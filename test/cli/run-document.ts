/**
 * run-document - documents of runs that never were, for whoever renders them.
 */
import type { GuestRow, RunDocument } from "../../dist/cli/document.js";
import { PAGE } from "./command.js";

/** A guest of which nothing has been merged, but for `of`. */
export function guestRow(name: string, pages: number, of: Partial<GuestRow> = {}): GuestRow {
  return {
    name,
    source: name,
    bytes: pages * PAGE,
    padded_bytes: 0,
    pages,
    node: 0,
    pages_shared: 0,
    pages_sharing: 0,
    pages_unshared: pages,
    pages_volatile: 0,
    saved_bytes: (of.pages_sharing ?? 0) * PAGE,
    zero_pages: 0,
    remote_pages: 0,
    saved_zero_bytes: 0,
    unreadable_pages: 0,
    ...of,
  };
}

/** What the text tells of a run over these guests that found nothing wrong, but for `of`. */
export function runDocument(
  guests: readonly GuestRow[],
  { timing, options, ...of }: { [Key in keyof RunDocument]?: Partial<RunDocument[Key]> } = {},
): RunDocument {
  const sum = (key: Exclude<keyof GuestRow, "name" | "source">): number =>
    guests.reduce((total, guest) => total + guest[key], 0);
  const document = {
    settled: true,
    interrupted: false,
    pages: sum("pages"),
    saved_bytes: sum("saved_bytes"),
    saved_zero_bytes: sum("saved_zero_bytes"),
    zero_pages: sum("zero_pages"),
    unreadable_pages: sum("unreadable_pages"),
    passes: 3,
    guests,
    counters: { pages_volatile: sum("pages_volatile") },
    histogram: [],
    nodes: [],
    migrations: {
      succeeded: 0,
      failed: { pinned: 0, busy: 0, no_frame: 0, raced: 0, timeout: 0 },
    },
    memory: {
      ...{ reusable_bytes: 0, released_bytes: 0 },
      ...{ rss_before_bytes: null, rss_after_bytes: null },
    },
    timing: {
      first_pass_seconds: 0.0512,
      merge_pass_seconds: 1.8349,
      settle_seconds: 1.8899,
      verify_seconds: 0.31,
      scan_pages_per_second: 212_535.4,
      effective_pages_per_second: 1_637_606.2,
      ...timing,
    },
    verify: { pages: sum("pages"), mismatches: 0 },
    check: "clean",
    options: { verify: true, passes: null, seconds: null, ...options },
    notes: [],
    kernels: "simd",
    hash: "xxh3-64",
    ...of,
  };
  return document as unknown as RunDocument;
}
