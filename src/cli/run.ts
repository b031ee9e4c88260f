/**
 * run - `pagefold run`: loads sources into guests, merges, reads everything back, audits, and says what
 * was found. While it does, it tells a view what it is at.
 */
import { PAGE_SIZE } from "../base/units.js";
import { createEngine, type Engine, type EngineGuest, type Policy } from "../index.js";
import { buildDocument, type Progress, type RunDocument } from "./document.js";
import { memoryLeft } from "./memory-left.js";
import { merge } from "./merging.js";
import type { RunOptions } from "./options.js";
import { blockBytesFor, placeSources } from "./placement.js";
import { printable } from "./printable.js";
import type { Loaded } from "./programs/load.js";
import { openSum } from "./programs/progress-channel.js";
import type { Verified } from "./programs/verify.js";
import type { ProgressView } from "./screen/progress.js";
import { Reporter } from "./screen/reporter.js";
import type { Found } from "./sources/find.js";
import type { Source } from "./sources/source.js";

const LOAD = new URL("./programs/load.js", import.meta.url);
const VERIFY = new URL("./programs/verify.js", import.meta.url);

/** Passes that find everything that is left, when nothing is moved any more. */
const LAST_PASSES = 2;

export interface Outcome {
  readonly document: RunDocument;
  /** What is wrong, a line each. */
  readonly complaints: readonly string[];
}

/** Does the whole run. When `signal` is aborted it ends early and tells what is known. */
export async function runSources(
  { sources, notes }: Pick<Found, "sources" | "notes">,
  options: RunOptions,
  view: ProgressView,
  signal: AbortSignal,
): Promise<Outcome> {
  const { nodes, memoryPerNode, guestBytes } = placeSources(
    sources,
    options.nodes,
    options.memoryPerNode,
    memoryLeft(),
  );
  const engine = await createEngine({
    nodes: options.nodes,
    memoryPerNode,
    blockBytes: blockBytesFor(memoryPerNode, options.nodes),
    maxGuestBytes: guestBytes,
    maxGuests: sources.length,
    maxVcpus: sources.length,
    migrators: options.migrators,
    // This one, ksmd, the nodes and the migrators.
    maxThreads: options.nodes + options.migrators + 2,
    collectGarbage: true,
    kernels: options.kernels,
    hash: options.hash,
    ksm: { maxPageSharing: options.maxPageSharing, mergeAcrossNodes: options.mergeAcrossNodes },
  });
  try {
    const perNode = (engine.stats().nodes[0]?.total ?? 0) * PAGE_SIZE;
    sources.forEach(({ name, pages }, i) => {
      engine.createGuest({ name, bytes: pages * PAGE_SIZE, node: nodes[i] as number });
    });
    const reporter = new Reporter(engine, view);
    try {
      const run = new Run(engine, sources, options, reporter, signal);
      const progress = await run.run();
      const report = await engine.report();
      const document = buildDocument({
        ...{ engine, report, sources, notes, options, progress, memoryPerNode: perNode },
      });
      return { document, complaints: run.complaints };
    } finally {
      reporter.end();
    }
  } finally {
    await engine.close();
  }
}

class Run {
  readonly complaints: string[] = [];
  private readonly progress: Progress = {
    load_seconds: null,
    merged: {
      settled: false,
      first_pass_seconds: null,
      merge_pass_seconds: null,
      settle_seconds: null,
    },
    verify_seconds: null,
    rss_before_bytes: null,
    rss_after_bytes: null,
    interrupted: false,
    unreadable: [],
    verify: null,
    check: null,
  };

  constructor(
    private readonly engine: Engine,
    private readonly sources: readonly Source[],
    private readonly options: RunOptions,
    private readonly reporter: Reporter,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<Progress> {
    const { engine, progress, signal } = this;
    try {
      signal.throwIfAborted();
      await this.load();
      progress.rss_before_bytes = process.memoryUsage.rss();
      await this.follow(this.policies);
      await this.merge();
      await engine.ksm.set({ run: 0 }, { signal });
      await this.compact();
      progress.rss_after_bytes = process.memoryUsage.rss();
      if (this.options.verify) await this.verify();
      await this.follow([]);
      this.reporter.begin("auditing", 0);
      progress.check = await engine.check({ signal });
      for (const problem of progress.check.problems) this.complaints.push(`check: ${problem}`);
    } catch (error) {
      if (!signal.aborted) throw error;
      progress.interrupted = true;
      await this.follow([]);
      await engine.ksm.set({ run: 0 });
    }
    return progress;
  }

  /** What migrators do all of the time. */
  private get policies(): readonly Policy[] {
    return this.options.policies.filter((policy) => policy !== "compact");
  }

  private async follow(policies: readonly Policy[]): Promise<void> {
    if (this.policies.length > 0) await this.engine.setPolicies(policies);
  }

  /** Gives back the memory of blocks that the others have room for; other policies pause meanwhile. */
  private async compact(): Promise<void> {
    const { engine, options, signal } = this;
    if (!options.policies.includes("compact")) return;
    await this.follow([]);
    this.reporter.begin("compacting", 0);
    await engine.compact({ signal });
    await this.follow(this.policies);
  }

  /** Pages of all sources. */
  private get pages(): number {
    return this.sources.reduce((sum, { pages }) => sum + pages, 0);
  }

  private async load(): Promise<void> {
    const { signal } = this;
    const started = performance.now();
    const used = (): number => this.engine.stats().frames.used;
    this.reporter.begin("loading", this.pages, used);
    const loaded = await this.onEveryNode(
      (guest, { data }) => guest.run(LOAD, data, { signal }) as Promise<Loaded>,
    );
    this.progress.unreadable = loaded.map(({ unreadable }) => unreadable);
    this.progress.load_seconds = secondsSince(started);
  }

  private async merge(): Promise<void> {
    const { engine, options, progress, signal } = this;
    this.reporter.beginMerging(this.pages);
    await merge(engine, options, progress.merged, signal);
    if (this.policies.length === 0 || !progress.merged.settled) return;
    // Pages whose frames migrators had in hand at the end have been left to a later pass.
    await this.follow([]);
    await engine.ksm.scan(LAST_PASSES, { signal });
    await this.follow(this.policies);
  }

  private async verify(): Promise<void> {
    const { signal } = this;
    const started = performance.now();
    const done = openSum();
    this.reporter.begin("verifying", this.pages, done.pages);
    const results = await this.onEveryNode(
      (guest, { data }) => guest.run(VERIFY, data, { signal }) as Promise<Verified>,
    ).finally(done.close);
    this.progress.verify_seconds = secondsSince(started);
    let pages = 0;
    let mismatches = 0;
    results.forEach((result, i) => {
      pages += result.pages;
      mismatches += result.mismatches;
      this.complaints.push(...complaintsOf(result, this.sources[i] as Source));
    });
    this.progress.verify = { pages, mismatches };
  }

  /** Does `work` for each guest: the nodes at once, the guests of a node one after the other. */
  private async onEveryNode<T>(
    work: (guest: EngineGuest, source: Source) => Promise<T>,
  ): Promise<T[]> {
    const results: T[] = [];
    const oneNode = async (node: number): Promise<void> => {
      for (const [i, guest] of this.engine.guests.entries()) {
        if (guest.node === node) results[i] = await work(guest, this.sources[i] as Source);
      }
    };
    await Promise.all(Array.from({ length: this.options.nodes }, (_, node) => oneNode(node)));
    return results;
  }
}

/** What stderr says of a guest that is not equal to its source. */
function complaintsOf({ mismatches, first, unreadable }: Verified, source: Source): string[] {
  const { name } = source;
  const lines = first.map((page) => `${name}: page ${page} differs from ${source.source}`);
  if (mismatches > first.length) lines.push(`${name}: ${mismatches} pages differ in all`);
  if (unreadable !== null) lines.push(`${name}: its source cannot be read again: ${unreadable}`);
  return lines.map(printable);
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}
