/** migrator - the shipped migrator as threads of a tiny machine, and what it came to. */
import { expect, it } from "vitest";
import type { Memory } from "../../src/base/memory.js";
import type { Bounds, Scenario, Step } from "./explorer.js";
import { type Edit, loadProduction, type Production } from "./loader.js";
import { expectSafe, Ghosts, ghost, type TinyMachine } from "./machine.js";

/** By outcome. */
const OUTCOMES = ["migrated", "pinned", "busy", "no_frame", "raced", "timeout"] as const;

/** A scenario whose migrators are watched. */
export interface Watched extends Scenario {
  readonly migrators: Migrators;
}

export class Migrators {
  /** Ghost: frames by outcome, of all threads. */
  private readonly tally = new Ghosts(OUTCOMES.length);
  /** What it may come to, and whether an execution did. */
  private readonly legal = new Map<string, boolean>();

  constructor(private readonly machine: TinyMachine) {}

  /** Moves the frames in one call, in the body of a thread; whether all were moved. */
  move(memory: Memory, nid: number, ...pfns: number[]): boolean {
    const { batch, migrate } = this.machine.production;
    const tally = new Int32Array(batch.OUTCOMES);
    migrate.migrateFrames(memory, pfns, nid, batch.createBatch(memory), tally);
    ghost(() => {
      for (const [outcome, frames] of tally.entries()) this.tally.add(outcome, frames);
    });
    return tally[batch.MIGRATED] === pfns.length;
  }

  /** Moves the frame to the node of two where it is not. */
  moveAway(memory: Memory, pfn: number): boolean {
    return this.move(memory, 1 - this.machine.production.base.nodeOf(memory, pfn), pfn);
  }

  /** A thread that moves these frames to the node. */
  thread(id: number, nid: number, ...pfns: number[]): () => void {
    return () => {
      this.move(this.machine.view(id), nid, ...pfns);
    };
  }

  /**
   * The scenario, in which the frames come to one of `legal` ("migrated 1, raced 1"), and an entry of a thread
   * whose name begins with "migrator" ends with the flags that it began with (MIGRATE-1).
   */
  watch(scenario: Scenario, ...legal: readonly string[]): Watched {
    for (const outcome of legal) this.legal.set(outcome, false);
    return {
      ...scenario,
      migrators: this,
      observe: (step) => {
        scenario.observe?.(step);
        this.checkFlags(step);
      },
      check: () => {
        scenario.check();
        this.checkOutcome();
      },
    };
  }

  /** What no execution came to, of what it may come to. */
  unseen(): string[] {
    return [...this.legal].filter(([, seen]) => !seen).map(([outcome]) => outcome);
  }

  /** What all moves of the execution came to, by outcome. */
  came(): string {
    const counts = OUTCOMES.map((name, outcome) => [name, this.tally.get(outcome)] as const);
    const some = counts.filter(([, frames]) => frames !== 0);
    return some.map(([name, frames]) => `${name} ${frames}`).join(", ");
  }

  private checkOutcome(): void {
    const came = this.came();
    if (!this.legal.has(came)) throw new Error(`OUTCOME: ${came}`);
    this.legal.set(came, true);
  }

  private checkFlags(step: Step): void {
    if (step.kind !== "exchange" || !step.thread.startsWith("migrator")) return;
    const { control, layout } = this.machine.memory;
    if (step.words !== control || step.index < layout.ptes || step.index >= layout.items) return;
    const { PTE_DIRTY, PTE_MERGED, PTE_WRITABLE } = this.machine.production.layout;
    const kept = PTE_WRITABLE | PTE_DIRTY | PTE_MERGED;
    const pte = control[step.index] as number;
    if (((pte ^ step.value) & kept) === 0) return;
    throw new Error(`MIGRATE-1: entry ${step.value} ended as ${pte}`);
  }
}

/** Every interleaving within the bounds is right, and each of the legal outcomes is met. */
export function mustMove(
  name: string,
  build: (production: Production) => Watched,
  bounds: Bounds,
  ...edits: Edit[]
): void {
  it(name, async () => {
    const scenario = build(await loadProduction(...edits));
    expectSafe(scenario, bounds);
    expect(scenario.migrators.unseen()).toEqual([]);
  });
}

/** Every pte (but for who sleeps on it), and the hot words of every frame, as they are before the search. */
export class Traces {
  private readonly before: readonly number[];

  constructor(private readonly machine: TinyMachine) {
    this.before = this.read();
  }

  private read(): number[] {
    const { blockLayout, blocks } = this.machine.memory;
    const { PTE_SLEEPERS } = this.machine.production.layout;
    const ptes = this.machine.pages.map(([guest, gfn]) => this.machine.pte(guest, gfn));
    const records = blocks.flatMap((block) => [
      ...(block?.words.subarray(0, blockLayout.cold) ?? []),
    ]);
    return [...ptes.map((pte) => pte & ~PTE_SLEEPERS), ...records];
  }

  /** MIGRATE-2: all is as it was, word for word. */
  expectNone(): void {
    const now = this.read();
    const changed = this.before.findIndex((word, i) => word !== now[i]);
    if (changed < 0) return;
    throw new Error(`MIGRATE-2: word ${changed} was ${this.before[changed]}, is ${now[changed]}`);
  }
}
