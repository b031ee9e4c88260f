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
 */

export interface Operation {
  readonly kind: string;
  readonly words: Int32Array;
  readonly index: number;
  readonly value: number;
}

/** One line of a trace. */
export interface Step extends Operation {
  readonly thread: string;
}

export interface Scenario {
  readonly threads: Readonly<Record<string, () => void>>;
  /** Called after every operation, outside any thread; throws to report a violation. */
  readonly observe?: (step: Step) => void;
  /** Called when all threads have ended; throws to report a violation. */
  readonly check: () => void;
  /** Puts private ghost state back before each execution (shared words are put back by the explorer). */
  readonly reset?: () => void;
  readonly nameWord?: (words: Int32Array, index: number) => string;
}

export interface Bounds {
  readonly preemptions: number;
  readonly executions?: number;
  readonly steps?: number;
}

export interface Failure {
  readonly message: string;
  /** The choices that lead there: `replay` in Bounds order. */
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

interface Thread {
  readonly name: string;
  readonly body: () => void;
  readonly log: number[];
  cursor: number;
  asleep: { words: Int32Array; index: number } | null;
  over: boolean;
}

/** Enumerates all sequences of choices: each run replays a prefix and takes the next branch at its end. */
class Choices {
  private readonly taken: { index: number; last: number }[] = [];
  private position = 0;

  constructor(fixed: readonly number[] = []) {
    for (const index of fixed) this.taken.push({ index, last: index });
  }

  choose(count: number): number {
    if (count <= 1) return 0;
    if (this.position === this.taken.length) this.taken.push({ index: 0, last: count - 1 });
    return (this.taken[this.position++] as { index: number }).index;
  }

  /** Moves on to the next sequence; false when there is none. */
  advance(): boolean {
    this.position = 0;
    for (let i = this.taken.length - 1; i >= 0; i--) {
      const choice = this.taken[i] as { index: number; last: number };
      if (choice.index < choice.last) {
        choice.index++;
        this.taken.length = i + 1;
        return true;
      }
    }
    return false;
  }

  schedule(): number[] {
    return this.taken.slice(0, this.position).map((choice) => choice.index);
  }
}

export class Explorer {
  private threads: Thread[] = [];
  private current: Thread | null = null;
  private granted = false;
  private next: Thread | null = null;
  private preempted = 0;
  private steps = 0;
  private tracing: string[] | null = null;
  private choices = new Choices();
  private scenario: Scenario = { threads: {}, check: () => {} };
  private limits = { preemptions: 0, steps: 0 };
  private readonly undo: { words: Int32Array; index: number; value: number }[] = [];
  private readonly seenMarks = new Set<string>();

  explore(scenario: Scenario, bounds: Bounds): Report {
    this.begin(scenario, bounds);
    const executionsMax = bounds.executions ?? 5_000_000;
    let executions = 0;
    let operations = 0;
    for (;;) {
      const message = this.execute();
      executions++;
      operations += this.steps;
      if (message !== null) {
        const failure = this.explain(message, bounds);
        return { executions, operations, exhausted: false, marks: this.seenMarks, failure };
      }
      if (!this.choices.advance()) break;
      if (executions >= executionsMax) {
        return { executions, operations, exhausted: false, marks: this.seenMarks, failure: null };
      }
    }
    return { executions, operations, exhausted: true, marks: this.seenMarks, failure: null };
  }

  /** Runs one schedule of a failure again; returns its failure, or null. */
  replay(scenario: Scenario, bounds: Bounds, schedule: readonly number[]): Failure | null {
    this.begin(scenario, bounds);
    this.choices = new Choices(schedule);
    const message = this.execute();
    return message === null ? null : this.explain(message, bounds);
  }

  private begin(scenario: Scenario, bounds: Bounds): void {
    this.scenario = scenario;
    this.limits = { preemptions: bounds.preemptions, steps: bounds.steps ?? 20_000 };
    this.choices = new Choices();
    this.seenMarks.clear();
  }

  private explain(message: string, bounds: Bounds): Failure {
    const schedule = this.choices.schedule();
    this.choices = new Choices(schedule);
    this.limits = { ...this.limits, preemptions: bounds.preemptions };
    this.tracing = [];
    this.execute();
    const trace = this.tracing;
    this.tracing = null;
    return { message, schedule, trace };
  }

  /** One execution from the initial state; returns what went wrong, or null. */
  private execute(): string | null {
    this.steps = 0;
    this.preempted = 0;
    this.undo.length = 0;
    this.scenario.reset?.();
    this.threads = Object.entries(this.scenario.threads).map(([name, body]) => ({
      name,
      body,
      log: [],
      cursor: 0,
      asleep: null,
      over: false,
    }));
    const message = this.runThreads();
    this.current = null;
    const result = message ?? attempt(() => this.scenario.check());
    for (let i = this.undo.length - 1; i >= 0; i--) {
      const { words, index, value } = this.undo[i] as {
        words: Int32Array;
        index: number;
        value: number;
      };
      words[index] = value;
    }
    this.undo.length = 0;
    return result;
  }

  private runThreads(): string | null {
    this.next = null;
    for (;;) {
      const thread = this.next ?? this.pickAny();
      if (thread === null) {
        const sleepers = this.threads.filter((t) => !t.over).map((t) => t.name);
        return sleepers.length === 0 ? null : `deadlock: ${sleepers.join(", ")} asleep`;
      }
      this.next = null;
      this.current = thread;
      this.granted = true;
      thread.cursor = 0;
      try {
        thread.body();
        thread.over = true;
      } catch (error) {
        if (error !== SUSPEND) return messageOf(error);
      }
    }
  }

  private runnable(): Thread[] {
    return this.threads.filter((thread) => !thread.over && thread.asleep === null);
  }

  private pickAny(): Thread | null {
    const ready = this.runnable();
    return ready.length === 0 ? null : (ready[this.choices.choose(ready.length)] as Thread);
  }

  /** Called by the seam's twin for every operation. `point`: another thread may run before it. */
  operation(
    kind: string,
    words: Int32Array,
    index: number,
    point: boolean,
    perform: () => number,
  ): number {
    const thread = this.current;
    if (thread === null) return perform();
    if (thread.cursor < thread.log.length) return thread.log[thread.cursor++] as number;
    if (point) this.schedulingPoint(thread);
    const value = perform();
    thread.log.push(value);
    thread.cursor++;
    this.afterOperation(thread, { kind, words, index, value });
    return value;
  }

  private schedulingPoint(thread: Thread): void {
    if (++this.steps > this.limits.steps) throw new Error("livelock: too many steps");
    if (this.granted) {
      this.granted = false;
      return;
    }
    if (this.preempted >= this.limits.preemptions) return;
    const others = this.runnable().filter((other) => other !== thread);
    const choice = this.choices.choose(others.length + 1);
    if (choice === 0) return;
    this.preempted++;
    this.next = others[choice - 1] as Thread;
    throw SUSPEND;
  }

  private afterOperation(thread: Thread, operation: Operation): void {
    const step = { ...operation, thread: thread.name };
    if (this.tracing !== null) this.tracing.push(this.line(step));
    if (this.scenario.observe === undefined) return;
    this.current = null;
    this.scenario.observe(step);
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
    words[index] = value;
  }

  /** Atomics.wait: sleeps, unless the word is not `expected`. */
  sleep(words: Int32Array, index: number, expected: number): number {
    const thread = this.current;
    if (thread === null) throw new Error("a wait outside every thread");
    if (thread.cursor < thread.log.length) return thread.log[thread.cursor++] as number;
    this.schedulingPoint(thread);
    if (words[index] !== expected) {
      thread.log.push(1);
      thread.cursor++;
      this.afterOperation(thread, { kind: "wait", words, index, value: 1 });
      return 1;
    }
    thread.asleep = { words, index };
    this.afterOperation(thread, { kind: "sleep", words, index, value: expected });
    throw SUSPEND;
  }

  /** Atomics.notify: the sleep of up to `count` threads returns. */
  wake(words: Int32Array, index: number, count: number): number {
    let woken = 0;
    for (const thread of this.threads) {
      if (thread.asleep?.words !== words || thread.asleep.index !== index || woken >= count)
        continue;
      thread.asleep = null;
      thread.log.push(1);
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
