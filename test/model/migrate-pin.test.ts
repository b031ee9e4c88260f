/**
 * Question: does what a device writes through its pin stay the guest's while ksmd merges the page and a migrator moves
 * its frame, all at once (seed 004)?
 * Threads: a device that writes in place, the shipped ksmd (a pass that would merge the page), a migrator. Two nodes
 * of 4 frames, two guests with equal pages. Bounds: 2 preemptions.
 */
import { describe } from "vitest";
import { Device } from "./device.js";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import { Migrators, mustMove, type Watched } from "./migrator.js";
import { mustFail, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 2 };

/** Pages 0 of guests 0 and 1 are equal, and quiet: the pass merges them. */
class Pinning extends KsmMachine {
  readonly migrators = new Migrators(this);

  constructor(production: Production, candidates: number) {
    super(production, { framesShift: 2, nodes: 2, guests: [1, 1], vcpus: [0] });
    for (const guest of [0, 1]) this.populate(guest, 0, [7, 8]);
    this.pass();
    this.production.scan.scanBatch(this.shard, candidates);
  }

  transfer(device: Device, pfn: number): void {
    device.store(pfn, 0, 0, 21);
    device.load(pfn, 0, 1);
    device.store(pfn, 0, 1, 22);
    device.unpin(0, pfn);
  }

  against(device: () => void, ...legal: readonly string[]): Watched {
    const { layout, pte } = this.production;
    const migrator = () => {
      const memory = this.view(4);
      const pfn = layout.ptePfn(pte.readPte(memory, this.slot(0, 0)));
      this.migrators.moveAway(memory, pfn);
    };
    const scenario = this.ksmScenario({ ksmd: () => this.pass(), migrator, device });
    return this.migrators.watch(scenario, "migrated 1", "pinned 1", ...legal);
  }
}

/** The device pins meanwhile. */
function pins(production: Production): Watched {
  const machine = new Pinning(production, 1);
  return machine.against(
    () => {
      const device = new Device(machine, machine.view(0), 0);
      machine.transfer(device, device.pin(0));
    },
    "raced 1",
    "busy 1",
  );
}

/** Pinned before the harvest: D is clear, and the count alone tells ksmd and the migrator. */
function pinned(production: Production): Watched {
  const machine = new Pinning(production, 0);
  const pfn = new Device(machine, machine.memory, 0).pin(0);
  machine.quiet(0, 0);
  return machine.against(
    () => machine.transfer(new Device(machine, machine.view(0), 0), pfn),
    "raced 1",
  );
}

describe("a device, ksmd and a migrator on one page", () => {
  mustMove("pinned meanwhile", pins, BOUNDS);
  mustMove("pinned before", pinned, BOUNDS);
});

const MIGRATE = "migrate/migrate";
const FREEZE = "return freezePage(memory, old, 1) ? MIGRATED : MIGRATE_PINNED;";

mustFail("a device, ksmd and a migrator on one page", BOUNDS, [
  mutant("a pin that reads the pte again, and sets no D (O6, H43)", pins, /PTE-1|PIN-1/, [
    "mm/pin",
    "  return casPte(memory, slot, pte, pte | PTE_DIRTY);",
    "  return readPte(memory, slot) === pte;",
  ]),
  mutant("a frame moved from under its pin (H44)", pinned, /PTE-1|PIN-1|REF-/, [
    MIGRATE,
    FREEZE,
    FREEZE.replace("1)", "1) || freezePage(memory, old, 2)"),
  ]),
  mutant("a pinned page merged (H43)", pinned, /PTE-1|PIN-1|REF-/, [
    "ksm/merge",
    "  return pageRef(memory, pfn) === 2;",
    "  return pageRef(memory, pfn) >= 2;",
  ]),
  mutant("D lost by the migrator", pins, /MIGRATE-1|PTE-1|PIN-1/, [
    MIGRATE,
    "& PTE_FLAGS_MASK;",
    "& PTE_FLAGS_MASK & ~8;",
  ]),
]);
