/**
 * Question: does anything stop for a migration? A migrator is held at each of its steps, with its page locks and
 * entries: ksmd completes a pass, and a vCPU of the same guest goes on with every other page.
 * Threads: a migrator, ksmd, a vCPU. Two nodes of 8 frames. Every operation is a place to hold the migrator.
 */
import { describe, expect, it } from "vitest";
import { explorer, type Step } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import { loadProduction, type Production } from "./loader.js";
import { Migrators } from "./migrator.js";

/** Nobody but the migrator may sleep, but that ksmd waits for the vCPU's safepoint. */
function checkSleep(machine: KsmMachine, step: Step): void {
  if (step.kind !== "sleep" || step.thread === "migrator") return;
  const { control, layout } = machine.memory;
  const onVcpu = step.words === control && step.index >= layout.vcpus && step.index < layout.tlbs;
  if (step.thread === "ksmd" && onVcpu) return;
  throw new Error(`${step.thread} sleeps on ${machine.nameWord(step.words, step.index)}`);
}

/**
 * Guest 0 has page 0, which moves, and pages 1 and 2, which its vCPU uses; guest 1's page 0 is equal to page 0. Its
 * pages 1 and 2 are equal, and to be merged by the pass that is explored.
 */
class Held extends KsmMachine {
  readonly migrators = new Migrators(this);
  private steps = 0;
  private readonly held = new Set<number>();

  constructor(production: Production) {
    super(production, { nodes: 2, guests: [3, 4], vcpus: [0] });
    for (const guest of [0, 1]) this.populate(guest, 0, [7, 8]);
    this.populate(0, 1, [3, 4]);
  }

  vcpu0 = () => {
    const running = this.vcpu(this.view(0), 0, "vcpu0");
    running.load(1, 0);
    running.store(1, 0, 21);
    running.store(2, 0, 22);
    running.load(1, 1);
  };

  /** In how many places the migrator was held while another thread did something; `last` is done before the search. */
  explore(last: () => void = () => {}): number {
    for (const gfn of [1, 2]) this.populate(1, gfn, [1, 2]);
    this.pass();
    last();
    const { PTE_MERGED, ptePfn } = this.production.layout;
    const pfn = ptePfn(this.pte(0, 0));
    const threads = {
      migrator: () => {
        this.migrators.moveAway(this.view(4), pfn);
      },
      ksmd: () => this.pass(),
      vcpu0: this.vcpu0,
    };
    const scenario = this.scenario(threads, () => {
      this.checkCounts();
      if ((this.pte(1, 1) & this.pte(1, 2) & PTE_MERGED) === 0) throw new Error("not merged");
    });
    const report = explorer.explore(
      {
        ...scenario,
        reset: () => {
          this.steps = 0;
        },
        observe: (step) => {
          if (step.thread === "migrator") this.steps++;
          else this.held.add(this.steps);
          checkSleep(this, step);
          scenario.observe?.(step);
        },
      },
      // One preemption: the migrator stands where it was stopped until the others have ended.
      { preemptions: 1, reduce: false },
    );
    expect(report.failure?.message).toBeUndefined();
    expect(report.exhausted).toBe(true);
    return this.held.size;
  }
}

describe("with a migrator held at each of its steps", () => {
  it("ksmd hashes and merges, and the vCPU writes, while a private frame moves", async () => {
    const machine = new Held(await loadProduction());
    expect(machine.explore()).toBeGreaterThan(40);
  });

  it("ksmd merges, and the vCPU writes, while a KSM frame moves", async () => {
    const machine = new Held(await loadProduction());
    for (const _ of [1, 2]) machine.pass();
    expect(machine.explore()).toBeGreaterThan(40);
  });

  it("ksmd passes over a page that would go onto the KSM frame", async () => {
    const machine = new Held(await loadProduction());
    for (const _ of [1, 2]) machine.pass();
    machine.populate(1, 3, [7, 8]);
    expect(machine.explore()).toBeGreaterThan(40);
  });

  it("ksmd passes over a written page that has left the KSM frame", async () => {
    const machine = new Held(await loadProduction());
    machine.populate(1, 3, [7, 8]);
    for (const _ of [1, 2]) machine.pass();
    const { fault } = machine.production;
    const held = machine.explore(() => {
      fault.breakCow(machine.memory, machine.slot(1, 3), machine.pte(1, 3));
    });
    expect(held).toBeGreaterThan(40);
  });
});
