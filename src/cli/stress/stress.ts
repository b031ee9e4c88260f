/**
 * stress - `pagefold stress`: all that an engine does at once, in rounds, each with an audit at its end; and what
 * came of it.
 */
import { PAGE_SIZE } from "../../base/units.js";
import {
  type Counters,
  createEngine,
  type Engine,
  type MigrationResult,
  type Stats,
} from "../../index.js";
import { dumpMachine, type MachineDump } from "../../machine/dump.js";
import type { ProgressView } from "../screen/progress.js";
import { Reporter } from "../screen/reporter.js";
import type { Done, WrongPage } from "./actor.js";
import { Crowd, type Performance } from "./crowd.js";
import { type Event, EventLog } from "./events.js";
import { type Failure, failureOf, StressError, wrongPageLine } from "./failure.js";
import { idleActors, showsAll } from "./idle.js";
import { Mover } from "./mover.js";
import type { Plan, Round, Step } from "./plan.js";
import { Rates } from "./rates.js";
import { type StepCounts, Stepper } from "./steps.js";

/** In so long everybody has done what he was told, or never will. */
const STUCK_MS = 30_000;
/** After a failure, what is still going on may end in so long. */
const FREEZE_MS = 2000;
/** How often vCPUs are asked how far they are. */
const TELL_MS = 500;
/** Passes after which nothing is left to merge where nobody writes. */
const PASSES = 3;

/** What a stress came to. */
export interface StressResult {
  readonly plan: Plan;
  readonly seconds: number;
  readonly interrupted: boolean;
  readonly performance: Performance;
  readonly counters: Counters;
  readonly migrations: MigrationResult;
  /** Of the frames moved: those of merged pages with several sharers that were asked for. */
  readonly sharedMoves: number;
  readonly steps: StepCounts;
  readonly blocks: Stats["blocks"];
  readonly checks: { readonly done: number; readonly clean: number };
  readonly mismatches: number;
  /**
   * Resident bytes of this process, the most in the first quarter of the time, and in the last: in between they go up
   * and down with the blocks that there are. null: it is not known how much a quarter is. Of a stress that did not
   * come to its time, or has none, those at its end.
   */
  readonly rss: { readonly quarter: number | null; readonly end: number };
  readonly failure: Failure | null;
  readonly wreck: Wreck | null;
}

/** Of a failure: the last events, and the machine as it was found, if that was asked for. */
interface Wreck {
  readonly events: readonly Event[];
  readonly machine: MachineDump | null;
}

export interface Surroundings {
  readonly view: ProgressView;
  /** When it is aborted the stress ends early, as properly as at its time. */
  readonly signal: AbortSignal;
  /** Of a failure the machine is wanted, too. */
  readonly wantsMachine: boolean;
}

/** Does the whole stress. */
export async function runStress(plan: Plan, around: Surroundings): Promise<StressResult> {
  const engine = await createEngine({
    nodes: plan.nodes,
    memoryPerNode: plan.memory_per_node,
    blockBytes: plan.block_bytes,
    migrators: plan.migrators,
    maxGuests: plan.guests,
    // One more for this thread, which reads nothing yet.
    maxVcpus: plan.guests * (plan.vcpus + 1),
    seed: plan.seed,
    hashBits: plan.hash_bits,
    collectGarbage: true,
    ksm: { run: 1, pagesToScan: 1024, sleepMillisecs: 1 },
  });
  const reporter = new Reporter(engine, around.view);
  const stress = new Stress(engine, plan, reporter, around);
  try {
    return await stress.run();
  } finally {
    stress.end();
    reporter.end();
    await engine.close();
  }
}

class Stress {
  readonly #engine: Engine;
  readonly #plan: Plan;
  readonly #reporter: Reporter;
  readonly #signal: AbortSignal;
  readonly #wantsMachine: boolean;
  readonly #log = new EventLog();
  readonly #rates = new Rates();
  readonly #crowd: Crowd;
  readonly #mover: Mover;
  readonly #stepper: Stepper;
  readonly #started = performance.now();
  readonly #telling: NodeJS.Timeout;
  readonly #checks = { done: 0, clean: 0 };
  /** What ended the stress before its time. */
  readonly #failed: Promise<never>;
  #fail: (error: unknown) => void = () => {};
  #mismatches = 0;
  /** Rounds that came to their end, with all of their steps. */
  #rounds = 0;
  #rss = { quarter: 0, end: 0 };

  constructor(engine: Engine, plan: Plan, reporter: Reporter, around: Surroundings) {
    this.#engine = engine;
    this.#plan = plan;
    this.#reporter = reporter;
    this.#signal = around.signal;
    this.#wantsMachine = around.wantsMachine;
    this.#failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.#failed.catch(() => {});
    engine.once("crash", (error) => this.#fail(error));
    this.#crowd = new Crowd(plan.guests * plan.vcpus, {
      onWrong: (wrong, recent) => this.#foundWrong(wrong, recent),
      onError: (error) => this.#fail(error),
    });
    this.#mover = new Mover(engine, plan.nodes, plan.mover_seed);
    this.#stepper = new Stepper(engine);
    this.#telling = setInterval(() => this.#tell(), TELL_MS);
  }

  async run(): Promise<StressResult> {
    try {
      this.#reporter.begin("starting", 0);
      await this.#inTime("the vCPUs' start", this.#start());
      for (let round = 0; !this.#isOver; round++) await this.#round(round);
      await this.#inTime("the vCPUs' end", this.#crowd.order("tell"));
      if (showsAll(this.#plan, this.#signal.aborted, this.#rounds)) this.#checkIdle();
      const result = this.#result(null, this.#seconds);
      await this.#inTime("the vCPUs' end", this.#crowd.stop());
      return result;
    } catch (error) {
      return await this.#afterFailure(error);
    }
  }

  end(): void {
    clearInterval(this.#telling);
    this.#crowd.close();
  }

  get #seconds(): number {
    return (performance.now() - this.#started) / 1000;
  }

  get #isOver(): boolean {
    return this.#signal.aborted || this.#msLeft <= 0;
  }

  get #msLeft(): number {
    const { seconds } = this.#plan;
    return seconds === 0 ? Number.POSITIVE_INFINITY : (seconds - this.#seconds) * 1000;
  }

  async #start(): Promise<void> {
    const { guests, nodes, pages_per_guest: pages } = this.#plan;
    for (let guest = 0; guest < guests; guest++) {
      this.#engine.createGuest({ bytes: pages * PAGE_SIZE, node: guest % nodes });
    }
    await this.#crowd.start(this.#plan, this.#engine.guests);
  }

  async #round(number: number): Promise<void> {
    const { rounds, seconds, round_ms } = this.#plan;
    const round = rounds[number % rounds.length] as Round;
    const done = (): number => this.#seconds * 1000;
    this.#log.add(`round ${number + 1}`);
    this.#reporter.begin(`stressing, round ${number + 1}`, seconds * 1000, done);
    await this.#inTime("the round's begin", this.#crowd.order("go"));
    await this.#inTime(
      "the migrators' begin",
      this.#mover.start(round.policies, (error) => this.#fail(error)),
    );
    const pause = round_ms / (round.steps.length + 1);
    // All of them, also when time runs out: a stress of any length has something to show.
    for (const step of round.steps) {
      await this.#sleep(pause);
      if (this.#signal.aborted) break;
      await this.#step(step);
    }
    await this.#sleep(pause);
    const isWhole = !this.#signal.aborted;
    await this.#audit(round);
    if (isWhole) this.#rounds++;
  }

  async #step(step: Step): Promise<void> {
    const name = Stepper.nameOf(step);
    this.#log.add(name);
    await this.#inTime(name, this.#stepper.do(step));
    this.#log.add(`${name}: done`);
  }

  /** Everybody pauses, every page is read, and the machine is recounted. */
  async #audit({ settle }: Round): Promise<void> {
    const { ksm } = this.#engine;
    this.#log.add("pause");
    await this.#inTime("a pause of the mover", this.#mover.stop());
    await this.#inTime("a pause of the vCPUs", this.#crowd.order("pause"));
    if (settle) await this.#inTime("merging", ksm.scan(PASSES));
    await this.#inTime("reading all pages", this.#crowd.order("sweep"));
    await this.#inTime("stopping ksmd", ksm.set({ run: 0 }));
    this.#checks.done++;
    const { clean, problems } = await this.#inTime("the audit", this.#engine.check());
    this.#log.add(`audit: ${clean ? "clean" : "failed"}`);
    if (!clean) throw new StressError("check", `the audit failed: ${problems[0]}`, { problems });
    this.#checks.clean++;
    await this.#inTime("starting ksmd", ksm.set({ run: 1 }));
  }

  #checkIdle(): void {
    const idle = idleActors(this.#result(null, this.#seconds));
    if (idle.length === 0) return;
    throw new StressError("idle", `the stress shows nothing: ${idle.join(", ")}`);
  }

  #foundWrong(page: WrongPage, recent: readonly Done[]): void {
    this.#mismatches++;
    this.#fail(new StressError("mismatch", wrongPageLine(page), { page, recent }));
  }

  /** The value, unless the stress fails first, or it takes so long that somebody must be stuck. */
  async #inTime<T>(what: string, value: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const stuck = new Promise<never>((_, reject) => {
      const message = `${what} has not ended after ${STUCK_MS / 1000} s`;
      timer = setTimeout(() => reject(new StressError("stuck", message)), STUCK_MS);
    });
    try {
      return await Promise.race([this.#failed, value, stuck]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Time for the others; less when the stress is over meanwhile. */
  async #sleep(ms: number): Promise<void> {
    let wake = (): void => {};
    const slept = new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, Math.min(ms, Math.max(0, this.#msLeft)));
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#signal.addEventListener("abort", wake, { once: true });
    if (this.#signal.aborted) wake();
    try {
      await Promise.race([this.#failed, slept]);
    } finally {
      wake();
      this.#signal.removeEventListener("abort", wake);
    }
  }

  #tell(): void {
    this.#noteMemory();
    void this.#crowd.order("tell").then(() => this.#showRates());
  }

  #showRates(): void {
    const { writes, reads, pins } = this.#crowd.performance;
    const { counters, migrations } = this.#engine.stats();
    this.#reporter.rates = this.#rates.since([
      ["operations", writes + reads + pins],
      ["merges", counters.pages_merged],
      ["copies", counters.cow_ksm],
      ["moves", migrations.succeeded],
    ]);
  }

  #noteMemory(): void {
    const { seconds } = this.#plan;
    if (seconds === 0) return;
    const rss = process.memoryUsage.rss();
    if (this.#seconds <= seconds / 4) this.#rss.quarter = Math.max(this.#rss.quarter, rss);
    if (this.#seconds >= (seconds * 3) / 4) this.#rss.end = Math.max(this.#rss.end, rss);
  }

  /** Stops what can be stopped, so that the machine is found as the failure left it. */
  async #afterFailure(error: unknown): Promise<StressResult> {
    const seconds = this.#seconds;
    const failure = failureOf(error);
    this.#log.add(`failed: ${failure.message}`);
    const stopped = Promise.allSettled([
      this.#mover.stop(),
      this.#engine.ksm.set({ run: 0 }),
      this.#crowd.order("pause"),
    ]);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, FREEZE_MS);
    });
    await Promise.race([stopped, late]);
    clearTimeout(timer);
    return this.#result(failure, seconds);
  }

  #result(failure: Failure | null, seconds: number): StressResult {
    const { counters, migrations, blocks } = this.#engine.stats();
    return {
      plan: this.#plan,
      seconds,
      interrupted: this.#signal.aborted,
      performance: this.#crowd.performance,
      counters,
      migrations,
      sharedMoves: this.#mover.shared,
      steps: this.#stepper.counts,
      blocks,
      checks: { ...this.#checks },
      mismatches: this.#mismatches,
      rss: this.#rssOf(failure),
      failure,
      wreck: failure === null ? null : this.#wreck(),
    };
  }

  #rssOf(failure: Failure | null): StressResult["rss"] {
    const { quarter, end } = this.#rss;
    const isWhole = failure === null && !this.#signal.aborted && end > 0;
    return { quarter: quarter || null, end: isWhole ? end : process.memoryUsage.rss() };
  }

  #wreck(): Wreck {
    const machine = this.#wantsMachine ? dumpMachine(this.#engine.memory) : null;
    return { events: this.#log.events, machine };
  }
}
