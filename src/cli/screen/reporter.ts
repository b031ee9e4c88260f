/**
 * reporter - tells a view, ten times a second, how far a run has come. The engine is only read.
 */
import type { Engine } from "../../index.js";
import type { ProgressView } from "./progress.js";

const INTERVAL_MS = 100;

export class Reporter {
  readonly #engine: Engine;
  readonly #view: ProgressView;
  readonly #timer: NodeJS.Timeout;
  /** Pages of the stage that are done. */
  #done: () => number = () => 0;
  #rates: readonly string[] | undefined;
  /** What to do at a tick before the view is told. */
  #beforeTick: () => void = () => {};

  constructor(engine: Engine, view: ProgressView) {
    this.#engine = engine;
    this.#view = view;
    this.#timer = setInterval(() => this.#tick(), INTERVAL_MS);
  }

  /** `total` pages, 0 where that is not known; `done` tells how many of them are. */
  begin(stage: string, total: number, done: () => number = () => 0): void {
    this.#beforeTick = () => {};
    this.#start(stage, total, done);
  }

  /** What the line tells in place of the pages that are done. */
  set rates(rates: readonly string[]) {
    this.#rates = rates;
  }

  /** A stage for each pass of ksmd over `pages` pages. */
  beginMerging(pages: number): void {
    let pass = -1;
    this.#beforeTick = () => {
      const { full_scans: passes, pages_scanned: before } = this.#engine.stats().counters;
      if (passes === pass) return;
      pass = passes;
      const done = (): number => this.#engine.stats().counters.pages_scanned - before;
      this.#start(`merging, pass ${passes + 1}`, pages, done);
    };
    this.#beforeTick();
  }

  end(): void {
    clearInterval(this.#timer);
    this.#view.end();
  }

  #start(stage: string, total: number, done: () => number): void {
    this.#done = done;
    this.#view.begin(stage, total);
  }

  #tick(): void {
    this.#beforeTick();
    const { pages_shared: shared, pages_sharing: sharing } = this.#engine.stats().counters;
    this.#view.update(this.#done(), { shared, sharing }, this.#rates);
  }
}
