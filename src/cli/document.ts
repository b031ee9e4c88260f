/**
 * document - what a run found, as `--json` prints it: schema/run.schema.json. Keys are only ever added.
 */
import { availableParallelism, totalmem } from "node:os";
import { PAGE_SIZE } from "../base/units.js";
import type { CheckReport, Engine, HistogramRow, Policy, Report, Stats } from "../index.js";
import type { Merged } from "./merging.js";
import type { RunOptions } from "./options.js";
import { version } from "./package.js";
import type { Source } from "./sources/source.js";

export interface GuestRow {
  readonly name: string;
  readonly source: string;
  readonly bytes: number;
  readonly padded_bytes: number;
  /** Pages that have a frame: all of them once loading is done. */
  readonly pages: number;
  readonly node: number;
  readonly pages_shared: number;
  readonly pages_sharing: number;
  readonly pages_unshared: number;
  readonly pages_volatile: number;
  readonly saved_bytes: number;
  /** Pages that are all zeros. */
  readonly zero_pages: number;
  /** The part of saved_bytes that they are. */
  readonly saved_zero_bytes: number;
  /** Pages whose frame lies on another node than the guest's. */
  readonly remote_pages: number;
  /** Pages of a process that were gone when they were to be read. */
  readonly unreadable_pages: number;
}

/** What a run has come to so far; null: not done, or not to the end. */
export interface Progress {
  load_seconds: number | null;
  readonly merged: Merged;
  verify_seconds: number | null;
  /** Resident bytes of this process: all loaded and nothing merged; merged and compacted, and not verified. */
  rss_before_bytes: number | null;
  rss_after_bytes: number | null;
  interrupted: boolean;
  /** By source: pages that could not be read. */
  unreadable: readonly number[];
  verify: { readonly pages: number; readonly mismatches: number } | null;
  check: CheckReport | null;
}

export interface RunDocument {
  readonly schema: "pagefold.run/1";
  readonly settled: boolean;
  readonly interrupted: boolean;
  readonly pages: number;
  readonly saved_bytes: number;
  readonly saved_zero_bytes: number;
  readonly zero_pages: number;
  readonly unreadable_pages: number;
  readonly passes: number;
  readonly guests: readonly GuestRow[];
  readonly counters: Stats["counters"];
  readonly histogram: readonly HistogramRow[];
  readonly nodes: readonly {
    readonly node: number;
    readonly frames_total: number;
    readonly frames_used: number;
    readonly frames_free: number;
    readonly blocks: number;
    /** Pages of the guests of this node, and those of them whose frame lies on another. */
    readonly pages: number;
    readonly remote_pages: number;
  }[];
  readonly frames: Stats["frames"];
  readonly migrations: Stats["migrations"];
  readonly memory: {
    /** Of free frames that had been in use: what is written next gets it. */
    readonly reusable_bytes: number;
    /** Given back to the system. */
    readonly released_bytes: number;
    readonly rss_before_bytes: number | null;
    readonly rss_after_bytes: number | null;
  };
  /** Seconds of what was done, null for what was not done to the end. */
  readonly timing: {
    readonly load_seconds: number | null;
    readonly first_pass_seconds: number | null;
    readonly merge_pass_seconds: number | null;
    readonly settle_seconds: number | null;
    readonly verify_seconds: number | null;
    /** Pages hashed in a second in which ksmd did not sleep. */
    readonly scan_pages_per_second: number | null;
    /** Pages visited in such a second, those included that are known to be unchanged. */
    readonly effective_pages_per_second: number | null;
  };
  readonly verify: Progress["verify"];
  readonly check: "clean" | "failed" | "skipped";
  readonly options: {
    readonly nodes: number;
    readonly memory_per_node: number;
    readonly max_page_sharing: number;
    readonly merge_across_nodes: 0 | 1;
    readonly migrators: number;
    readonly policies: readonly Policy[];
    readonly passes: number | null;
    readonly seconds: number | null;
    /** null: flat out. */
    readonly pages_to_scan: number | null;
    readonly sleep_millisecs: number;
    readonly verify: boolean;
  };
  /** What is to be known of the sources, a sentence each. */
  readonly notes: readonly string[];
  readonly kernels: string;
  readonly hash: string;
  readonly versions: { readonly pagefold: string; readonly node: string; readonly v8: string };
  readonly machine: { readonly cpus: number; readonly memory_bytes: number };
}

/** What a document is made of. */
interface Findings {
  readonly engine: Engine;
  readonly report: Report;
  readonly sources: readonly Source[];
  readonly notes: readonly string[];
  readonly options: RunOptions;
  readonly progress: Progress;
  /** Bytes that each node had from the start. */
  readonly memoryPerNode: number;
}

/** Puts together what the engine counted and what the run noted. */
export function buildDocument({
  engine,
  report,
  sources,
  notes,
  options,
  progress,
  memoryPerNode,
}: Findings): RunDocument {
  const { load_seconds, verify_seconds, interrupted, verify, check } = progress;
  const { settled, ...merging } = progress.merged;
  const { counters, frames, busyMs, migrations, memory } = engine.stats();
  const perSecond = (pages: number) => (busyMs > 0 ? pages / (busyMs / 1000) : null);
  const guests = guestRows(engine, report, sources, progress.unreadable);
  const sum = (of: "pages" | "zero_pages" | "saved_zero_bytes" | "unreadable_pages") =>
    guests.reduce((total, guest) => total + guest[of], 0);
  const { implementation, hash } = engine.handle.kernels;
  return {
    schema: "pagefold.run/1",
    settled,
    interrupted,
    pages: sum("pages"),
    saved_bytes: counters.pages_sharing * PAGE_SIZE,
    saved_zero_bytes: sum("saved_zero_bytes"),
    zero_pages: sum("zero_pages"),
    unreadable_pages: sum("unreadable_pages"),
    passes: counters.full_scans,
    guests,
    counters,
    histogram: report.histogram,
    nodes: nodeRows(engine, guests),
    frames,
    migrations,
    memory: {
      reusable_bytes: memory.reusableBytes,
      released_bytes: memory.releasedBytes,
      rss_before_bytes: progress.rss_before_bytes,
      rss_after_bytes: progress.rss_after_bytes,
    },
    timing: {
      load_seconds,
      ...merging,
      verify_seconds,
      scan_pages_per_second: perSecond(counters.pages_hashed),
      effective_pages_per_second: perSecond(counters.pages_scanned),
    },
    verify,
    check: check === null ? "skipped" : check.clean ? "clean" : "failed",
    options: {
      nodes: options.nodes,
      memory_per_node: memoryPerNode,
      max_page_sharing: options.maxPageSharing,
      merge_across_nodes: options.mergeAcrossNodes,
      migrators: options.migrators,
      policies: options.policies,
      passes: options.passes,
      seconds: options.seconds,
      pages_to_scan: options.sleepMillisecs === 0 ? null : options.pagesToScan,
      sleep_millisecs: options.sleepMillisecs,
      verify: options.verify,
    },
    notes,
    kernels: implementation,
    hash,
    versions: { pagefold: version(), node: process.versions.node, v8: process.versions.v8 },
    machine: { cpus: availableParallelism(), memory_bytes: totalmem() },
  };
}

function nodeRows(engine: Engine, guests: readonly GuestRow[]): RunDocument["nodes"] {
  const blocks = engine.blocks();
  return engine.stats().nodes.map(({ node, total, used, free }) => {
    const own = guests.filter((guest) => guest.node === node);
    const sum = (of: "pages" | "remote_pages"): number =>
      own.reduce((all, guest) => all + guest[of], 0);
    return {
      node,
      frames_total: total,
      frames_used: used,
      frames_free: free,
      blocks: blocks.filter((block) => block.node === node).length,
      pages: sum("pages"),
      remote_pages: sum("remote_pages"),
    };
  });
}

function guestRows(
  engine: Engine,
  report: Report,
  sources: readonly Source[],
  unreadable: readonly number[],
): GuestRow[] {
  return report.guests.map((guest, i) => {
    const { name, source, bytes, paddedBytes } = sources[i] as Source;
    return {
      name,
      source,
      bytes,
      padded_bytes: paddedBytes,
      pages: guest.pages,
      node: engine.guests[i]?.node ?? 0,
      pages_shared: guest.pages_shared,
      pages_sharing: guest.pages_sharing,
      pages_unshared: guest.pages_unshared,
      pages_volatile: guest.pages_volatile,
      saved_bytes: guest.saved_bytes,
      zero_pages: guest.zero_pages,
      saved_zero_bytes: guest.zero_pages_sharing * PAGE_SIZE,
      remote_pages: guest.remote_pages,
      unreadable_pages: unreadable[i] ?? 0,
    };
  });
}
