/**
 * explorer - runs the shipped functions under every interleaving within a bound.
 *
 * A "thread" is an ordinary synchronous function. Every operation on shared memory goes through the seam,
 * whose twin (seam.ts) calls `operation` below. To switch threads the running one is stopped by a thrown
 * marker; to resume, it is run again from its start with the results of its past operations replayed. So
 * production code runs unmodified, without generators and without real threads. The conditions: a thread
 * is deterministic given those results, builds its private state inside its body, and catches nothing.
 *
 * JavaScript's Atomics are sequentially consistent, so interleavings are all there is for them. Plain
 * accesses declared racy are scheduling points too; those ordered by a lock are logged but never switched at.
 *
 * The search is depth-first over the choices of the scheduler, exhaustive for at most `preemptions`
 * switches away from a thread that could have gone on (switches at a sleep or an end are free).
 *
 * A switch before an operation on a word that no other thread touches, or that nobody writes, is the same
 * as one before the next operation on a contended word. So only contended words are scheduling points. Which
 * these are is learned: an execution that finds a new one starts the search over. Words outside shared
 * memory (ghosts) and those that the scenario watches count as contended.
 *
 * An execution begins where it parts from the one before: all is put back as it was at that choice, and the
 * threads, when their turn comes, replay what they had done by then. A scenario with `reset` has state of its
 * own that cannot be put back half-way, so it begins anew.
 *
 * A state is the memory, written through `write`, and what each thread has read so far: two executions that
 * meet in a state go on alike, and the second is given up there, unless the scenario has `reset`. States are
 * told apart by a 53-bit hash.
 */

import { Choices, Contention, States } from "./search.js";
import { type Checkpoint, record, type Thread, type Write } from "./threads.js";

/** An operation that was done; one line of a trace. */
export interface Step {
  readonly thread: string;
  readonly kind: string;
  readonly words: Int32Array;
  readonly index: number;
  readonly value: number;
}

export interface Scenario {
  readonly threads: Readonly<Record<string, () => void>>;
  /** Called after every operation, outside any thread; throws to report a violation. */
  readonly observe?: (step: Step) => void;
  /** Called when all threads have ended; throws to report a violation. */
  readonly check: () => void;
  /** Puts private ghost state back before each execution (shared words are put back by the explorer). */
  readonly reset?: () => void;
  /** Words whose order `observe` looks at: scheduling points even if no two threads touch them. */
  readonly watches?: (words: Int32Array, index: number) => boolean;
  readonly nameWord?: (words: Int32Array, index: number) => string;
}

export interface Bounds {
  readonly preemptions: number;
  readonly executions?: number;
  readonly steps?: number;
  /** False: every operation is a scheduling point, and no two executions meet. To check the explorer itself. */
  readonly reduce?: boolean;
}

export interface Failure {
  readonly message: string;
  /** What `replay` takes: thread, operations, thread, operations ... */
  readonly schedule: readonly number[];
  readonly trace: readonly string[];
}

export interface Report {
  readonly executions: number;
  readonly operations: number;
  readonly exhausted: boolean;
  readonly marks: ReadonlySet<string>;
  readonly failure: Failure | null;
}

const SUSPEND = Symbol("suspend");
/** This state was explored before. */
const MET = Symbol("met");

/** What an operation does, on these words; gives its result. */
export type Perform = (words: Int32Array, index: number, a: number, b: number) => number;

interface Found {
  readonly message: string | null;
  readonly executions: number;
  readonly operations: number;
  readonly exhausted: boolean;
}

export class Explorer {
  private threads: Thread[] = [];
  private current: Thread | null = null;
  /** Number of the thread whose operation is under way, its observers included. */
  private acting = 0;
  /** The execution under way has met an explored state. */
  private met = false;
  private contention = new Contention();
  private states: States | null = null;
  private granted = false;
  private next: Thread | null = null;
  private preempted = 0;
  private steps = 0;
  private tracing: string[] | null = null;
  private choices = new Choices<Checkpoint>();
  /** The execution under way, as a schedule. */
  private ran: number[] = [];
  /** The schedule to follow, if one is given; `followed` is the position in it. */
  private fixed: number[] | null = null;
  private followed = 0;
  private scenario: Scenario = { threads: {}, check: () => {} };
  private limits = { preemptions: 0, steps: 0, reduce: true };
  /** What the words that were written held before. */
  private readonly undo: Write[] = [];
  private readonly seenMarks = new Set<string>();

  explore(scenario: Scenario, bounds: Bounds): Report {
    this.begin(scenario, bounds);
    const found = this.search(bounds.executions ?? 5_000_000);
    const failure = found.message === null ? null : this.follow(this.ran);
    this.putBack(0);
    if (failure?.message !== (found.message ?? undefined)) {
      throw new Error(`not reproduced: ${found.message}`);
    }
    const { executions, operations, exhausted } = found;
    return { executions, operations, exhausted, marks: this.seenMarks, failure };
  }

  private search(executionsMax: number): Found {
    let executions = 0;
    let operations = 0;
    for (;;) {
      const message = this.execute();
      executions++;
      operations += this.steps;
      if (message !== null) return { message, executions, operations, exhausted: false };
      if (this.limits.reduce && this.contention.grow()) {
        this.forget();
        executions = 0;
        operations = 0;
      } else if (!this.choices.advance()) {
        return { message, executions, operations, exhausted: true };
      } else if (executions >= executionsMax) {
        return { message, executions, operations, exhausted: false };
      }
    }
  }

  /** Runs one schedule of a failure again; returns its failure, or null. */
  replay(scenario: Scenario, bounds: Bounds, schedule: readonly number[]): Failure | null {
    this.begin(scenario, bounds);
    const failure = this.follow(schedule);
    this.putBack(0);
    return failure;
  }

  private begin(scenario: Scenario, bounds: Bounds): void {
    this.scenario = scenario;
    const { preemptions, steps = 20_000, reduce = true } = bounds;
    this.limits = { preemptions, steps, reduce };
    this.contention = new Contention();
    // What was written before the search stays.
    this.undo.length = 0;
    this.forget();
    this.seenMarks.clear();
  }

  /** Begins the search. */
  private forget(): void {
    const { reset } = this.scenario;
    this.putBack(0);
    this.choices = new Choices();
    this.states = this.limits.reduce && reset === undefined ? new States() : null;
  }

  /** Runs a schedule with a trace. */
  private follow(schedule: readonly number[]): Failure | null {
    this.fixed = [...schedule];
    this.followed = 0;
    this.tracing = [];
    const message = this.execute();
    const trace = this.tracing;
    this.tracing = null;
    this.fixed = null;
    return message === null ? null : { message, schedule: this.ran, trace };
  }

  /** One execution; returns what went wrong, or null. */
  private execute(): string | null {
    const checkpoint = this.fixed === null ? this.choices.checkpoint() : null;
    this.met = false;
    this.next = null;
    if (checkpoint === null || this.scenario.reset !== undefined) this.startOver();
    else this.takeUp(checkpoint);
    const message = this.runThreads();
    this.current = null;
    return message ?? (this.met ? null : attempt(() => this.scenario.check()));
  }

  private startOver(): void {
    this.putBack(0);
    this.choices.rewind();
    this.steps = 0;
    this.preempted = 0;
    this.ran = [];
    this.scenario.reset?.();
    this.threads = Object.entries(this.scenario.threads).map(([name, body], number) => ({
      name,
      number,
      body,
      log: [],
      low: 0,
      high: 0,
      cursor: 0,
      asleep: null,
      over: false,
    }));
  }

  /** Where the scheduler stands before it chooses. */
  private checkpoint(current: Thread | null): Checkpoint {
    return {
      writes: this.undo.length,
      steps: this.steps,
      preempted: this.preempted,
      ran: this.ran.length,
      last: this.ran.at(-1) ?? 0,
      current,
      threads: this.threads.map(({ log, low, high, asleep, over }) => {
        return { logged: log.length, low, high, asleep, over };
      }),
    };
  }

  /** Puts all back as it was at the checkpoint, and takes the next choice there. */
  private takeUp(checkpoint: Checkpoint): void {
    this.putBack(checkpoint.writes);
    this.steps = checkpoint.steps;
    this.preempted = checkpoint.preempted;
    this.ran.length = checkpoint.ran;
    if (checkpoint.ran > 0) this.ran[checkpoint.ran - 1] = checkpoint.last;
    for (const [number, { logged, low, high, asleep, over }] of checkpoint.threads.entries()) {
      const thread = this.threads[number] as Thread;
      thread.log.length = logged;
      Object.assign(thread, { low, high, asleep, over });
    }
    if (checkpoint.current === null) this.next = this.chosen(this.runnable(), null);
    else this.preempt(checkpoint.current, this.othersThan(checkpoint.current));
  }

  /** Undoes the last writes, all but the first `writes`. */
  private putBack(writes: number): void {
    const { undo } = this;
    while (undo.length > writes) {
      const { words, index, value } = undo.pop() as Write;
      this.put(words, index, value);
    }
  }

  private runThreads(): string | null {
    for (;;) {
      const thread = this.next ?? this.pickAny();
      if (this.met) return null;
      if (thread === null) {
        const sleepers = this.threads.filter((t) => !t.over).map((t) => t.name);
        return sleepers.length === 0 ? null : `deadlock: ${sleepers.join(", ")} asleep`;
      }
      this.next = null;
      this.current = thread;
      this.acting = thread.number;
      this.granted = true;
      if (this.ran.at(-2) !== thread.number) this.ran.push(thread.number, 0);
      thread.cursor = 0;
      try {
        thread.body();
        thread.over = true;
      } catch (error) {
        if (error === MET) this.met = true;
        if (this.met) return null;
        if (error !== SUSPEND) return messageOf(error);
      }
    }
  }

  private runnable(): Thread[] {
    return this.threads.filter((thread) => !thread.over && thread.asleep === null);
  }

  private pickAny(): Thread | null {
    const ready = this.runnable();
    if (ready.length === 0) return null;
    if (this.fixed !== null) return this.fixedThread();
    if (ready.length > 1 && this.seenBefore(-1)) {
      this.met = true;
      return null;
    }
    return this.chosen(ready, null);
  }

  /** One of these threads; `current` would have gone on. */
  private chosen(threads: readonly Thread[], current: Thread | null): Thread {
    if (threads.length === 1) return threads[0] as Thread;
    return threads[this.choices.choose(threads.length, () => this.checkpoint(current))] as Thread;
  }

  private seenBefore(current: number): boolean {
    if (this.states === null || !this.choices.atEnd()) return false;
    return this.states.met(this.threads, current, this.preempted);
  }

  /** The thread whose turn it is in the given schedule; after its end, any. */
  private fixedThread(): Thread {
    const fixed = this.fixed as number[];
    for (; this.followed < fixed.length; this.followed += 2) {
      const thread = this.threads[fixed[this.followed] as number];
      const left = fixed[this.followed + 1] as number;
      if (left > 0 && thread !== undefined && !thread.over && thread.asleep === null) return thread;
    }
    return this.runnable()[0] as Thread;
  }

  /** Called by the seam's twin for every operation. `point`: another thread may run before it. */
  operation(
    kind: string,
    words: Int32Array,
    index: number,
    point: boolean,
    perform: Perform,
    a = 0,
    b = 0,
  ): number {
    const thread = this.current;
    if (thread === null) return perform(words, index, a, b);
    if (thread.cursor < thread.log.length) return thread.log[thread.cursor++] as number;
    if (point) this.schedulingPoint(thread, words, index);
    this.contention.note(words, index, thread.number, kind === "notify");
    // What a ghost step looks at is no operation of the thread.
    this.current = null;
    const value = perform(words, index, a, b);
    this.current = thread;
    record(thread, value);
    thread.cursor++;
    this.afterOperation(thread, kind, words, index, value);
    return value;
  }

  private schedulingPoint(thread: Thread, words: Int32Array, index: number): void {
    if (++this.steps > this.limits.steps) throw new Error("livelock: too many steps");
    if (this.fixed !== null) this.followFixed(thread, this.fixed);
    else if (this.isContended(words, index)) this.maybePreempt(thread);
    this.ran[this.ran.length - 1] = (this.ran.at(-1) as number) + 1;
  }

  private isContended(words: Int32Array, index: number): boolean {
    if (!this.limits.reduce) return true;
    return this.contention.has(words, index) || this.scenario.watches?.(words, index) === true;
  }

  private followFixed(thread: Thread, fixed: number[]): void {
    const next = this.fixedThread();
    if (next !== thread) {
      this.next = next;
      throw SUSPEND;
    }
    fixed[this.followed + 1] = (fixed[this.followed + 1] as number) - 1;
  }

  private maybePreempt(thread: Thread): void {
    if (this.granted) {
      this.granted = false;
      return;
    }
    if (this.preempted >= this.limits.preemptions) return;
    const others = this.othersThan(thread);
    if (others.length === 0) return;
    if (this.seenBefore(thread.number)) throw MET;
    if (this.preempt(thread, others)) throw SUSPEND;
  }

  private othersThan(thread: Thread): Thread[] {
    return this.runnable().filter((other) => other !== thread);
  }

  /** Shall another run before `thread` goes on? */
  private preempt(thread: Thread, others: readonly Thread[]): boolean {
    const next = this.chosen([thread, ...others], thread);
    if (next === thread) return false;
    this.preempted++;
    this.next = next;
    return true;
  }

  private afterOperation(
    thread: Thread,
    kind: string,
    words: Int32Array,
    index: number,
    value: number,
  ): void {
    const { observe } = this.scenario;
    if (this.tracing === null && observe === undefined) return;
    const step: Step = { thread: thread.name, kind, words, index, value };
    if (this.tracing !== null) this.tracing.push(this.line(step));
    if (observe === undefined) return;
    this.current = null;
    observe(step);
    this.current = thread;
  }

  private line(step: Step): string {
    const name = this.scenario.nameWord?.(step.words, step.index) ?? `word ${step.index}`;
    const now = step.words[step.index] as number;
    return `${step.thread.padEnd(8)} ${step.kind.padEnd(9)} ${name}: ${step.value} (now ${now})`;
  }

  /** Stores a shared word, so that it can be put back. */
  write(words: Int32Array, index: number, value: number): void {
    this.undo.push({ words, index, value: words[index] as number });
    this.contention.note(words, index, this.acting, true);
    this.put(words, index, value);
  }

  private put(words: Int32Array, index: number, value: number): void {
    const before = words[index] as number;
    words[index] = value;
    this.states?.changed(words, index, before, words[index] as number);
  }

  /** Atomics.wait: sleeps, unless the word is not `expected`. */
  sleep(words: Int32Array, index: number, expected: number): number {
    const thread = this.current;
    if (thread === null) throw new Error("a wait outside every thread");
    if (thread.cursor < thread.log.length) return thread.log[thread.cursor++] as number;
    this.schedulingPoint(thread, words, index);
    this.contention.note(words, index, thread.number, false);
    if (words[index] !== expected) {
      record(thread, 1);
      thread.cursor++;
      this.afterOperation(thread, "wait", words, index, 1);
      return 1;
    }
    thread.asleep = { words, index };
    this.afterOperation(thread, "sleep", words, index, expected);
    throw SUSPEND;
  }

  /** Atomics.notify: the sleep of up to `count` threads returns. */
  wake(words: Int32Array, index: number, count: number): number {
    let woken = 0;
    for (const thread of this.threads) {
      if (thread.asleep?.words !== words || thread.asleep.index !== index || woken >= count)
        continue;
      thread.asleep = null;
      record(thread, 1);
      woken++;
    }
    return woken;
  }

  /** Coverage: the unmutated code has been here. */
  mark(name: string): void {
    this.seenMarks.add(name);
  }
}

function attempt(action: () => void): string | null {
  try {
    action();
    return null;
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The one explorer of this process; the seam's twin finds it here. */
const KEY = Symbol.for("pagefold.explorer");
const holder = globalThis as unknown as Record<symbol, Explorer | undefined>;
export const explorer: Explorer = holder[KEY] ?? new Explorer();
holder[KEY] = explorer;
