/**
 * run - `pagefold run`: loads sources into guests, merges, reads everything back, audits, and says what
 * was found.
 *
 * Flat out, ksmd runs with pages_to_scan 0 and does exactly the passes that are asked of it, one by one.
 */
import { on } from "node:events";
import { PAGE_SIZE } from "../base/units.js";
import { createEngine, type Engine, type EngineGuest, type Knobs } from "../index.js";
import { oneLine } from "./bad-input.js";
import { buildDocument, type Progress, type RunDocument } from "./document.js";
import type { RunOptions } from "./options.js";
import { placeSources } from "./placement.js";
import type { Verified } from "./programs/verify.js";
import type { Source } from "./source.js";

const LOAD = new URL("./programs/load.js", import.meta.url);
const VERIFY = new URL("./programs/verify.js", import.meta.url);

/** ksmd sleeps until it is asked for a pass. */
const IDLE_MS = 2 ** 31 - 1;

export interface Outcome {
  readonly document: RunDocument;
  /** What is wrong, a line each. */
  readonly complaints: readonly string[];
}

/** Does the whole run. When `signal` is aborted it ends early and tells what is known. */
export async function runSources(
  sources: readonly Source[],
  options: RunOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const { nodes, memoryPerNode, guestBytes } = placeSources(sources, options.nodes);
  const engine = await createEngine({
    nodes: options.nodes,
    memoryPerNode,
    maxGuestBytes: guestBytes,
    maxGuests: sources.length,
    maxVcpus: sources.length,
    // This one, ksmd and the nodes.
    maxThreads: options.nodes + 2,
    kernels: options.kernels,
    hash: options.hash,
    ksm: { maxPageSharing: options.maxPageSharing },
  });
  try {
    sources.forEach(({ name, pages }, i) => {
      engine.createGuest({ name, bytes: pages * PAGE_SIZE, node: nodes[i] as number });
    });
    return await new Run(engine, sources, options, signal).run();
  } finally {
    await engine.close();
  }
}

class Run {
  private readonly complaints: string[] = [];
  private readonly progress: Progress = {
    timing: {
      load_seconds: null,
      first_pass_seconds: null,
      merge_pass_seconds: null,
      settle_seconds: null,
      verify_seconds: null,
    },
    settled: false,
    interrupted: false,
    verify: null,
    check: null,
  };

  constructor(
    private readonly engine: Engine,
    private readonly sources: readonly Source[],
    private readonly options: RunOptions,
    private readonly signal: AbortSignal,
  ) {}

  async run(): Promise<Outcome> {
    const { engine, progress, signal } = this;
    try {
      signal.throwIfAborted();
      await this.load();
      await this.merge();
      await engine.ksm.set({ run: 0 }, { signal });
      if (this.options.verify) await this.verify();
      progress.check = await engine.check({ signal });
      for (const problem of progress.check.problems) this.complaints.push(`check: ${problem}`);
    } catch (error) {
      if (!signal.aborted) throw error;
      progress.interrupted = true;
      await engine.ksm.set({ run: 0 });
    }
    const report = await engine.report();
    const document = buildDocument(engine, report, this.sources, this.options, progress);
    return { document, complaints: this.complaints };
  }

  private async load(): Promise<void> {
    const { signal } = this;
    const started = performance.now();
    await this.onEveryNode((guest, { data }) => guest.run(LOAD, data, { signal }));
    this.progress.timing.load_seconds = secondsSince(started);
  }

  /** Scans until settled, or as many passes as asked for. */
  private async merge(): Promise<void> {
    const { engine, progress, signal } = this;
    const { passes } = this.options;
    const { timing } = progress;
    const started = performance.now();
    const scanning = this.startScanning();
    const settled = engine.settled({ signal }).then(() => {
      progress.settled = true;
      timing.settle_seconds = secondsSince(started);
    });
    // If it fails, so does what is awaited below.
    settled.catch(() => {});
    let before = started;
    for (let pass = 1; passes === null ? !progress.settled : pass <= passes; pass++) {
      await scanning.nextPass(settled);
      const now = performance.now();
      if (pass === 1) timing.first_pass_seconds = (now - before) / 1000;
      if (pass === 2) timing.merge_pass_seconds = (now - before) / 1000;
      before = now;
    }
  }

  /**
   * Sets run to 1. Messages to ksmd keep their order, so nobody waits for it: what is asked of ksmd next
   * finds it running. `nextPass` resolves when a pass has ended, or `settled` has.
   */
  private startScanning(): { nextPass(settled: Promise<void>): Promise<unknown> } {
    const { engine, signal } = this;
    const { passes, pagesToScan, sleepMillisecs } = this.options;
    const set = (knobs: Partial<Knobs>): void => {
      engine.ksm.set({ run: 1, ...knobs }, { signal }).catch(() => {});
    };
    if (sleepMillisecs === 0) {
      set({ pagesToScan: 0, sleepMillisecs: IDLE_MS });
      return { nextPass: () => engine.ksm.scan(1, { signal }) };
    }
    const events = on(engine, "pass", { signal });
    set({ sleepMillisecs, pagesToScan: pagesToScan });
    return {
      nextPass: (settled) => {
        const failed = settled.then(() => new Promise<never>(() => {}));
        return Promise.race([events.next(), passes === null ? settled : failed]);
      },
    };
  }

  private async verify(): Promise<void> {
    const { signal } = this;
    const started = performance.now();
    const results = await this.onEveryNode(
      (guest, { data }) => guest.run(VERIFY, data, { signal }) as Promise<Verified>,
    );
    this.progress.timing.verify_seconds = secondsSince(started);
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
  return lines.map(oneLine);
}

function secondsSince(started: number): number {
  return (performance.now() - started) / 1000;
}
