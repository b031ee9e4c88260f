/**
 * Question: does whoever meets an entry of a migrator - a vCPU that reads or writes, a pin, an unpin - sleep on the
 * pte instead of trying it again and again, and is it woken when the entry ends (H88)?
 * Threads: a migrator, and two that meet its entry. Two nodes of 2 frames. Bounds: 2 preemptions.
 */
import { describe } from "vitest";
import { Device } from "./device.js";
import type { Step } from "./explorer.js";
import type { Production } from "./loader.js";
import { Ghosts, TinyMachine } from "./machine.js";
import { Migrators, mustMove, type Watched } from "./migrator.js";
import { lines, mustFail, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 2 };
/** Page 0 of guest 0: two vCPUs, or a vCPU and a device, wait on one word. */
const SLOT = 0;

class Waiting extends TinyMachine {
  readonly migrators = new Migrators(this);
  /** Ghost: how often each thread found the entry, of all that look. */
  private readonly looks = new Ghosts(8);

  constructor(production: Production) {
    super(production, { framesShift: 1, nodes: 2, guests: [1], vcpus: [0, 0] });
    this.populate(0, 0, [5, 6]);
  }

  reader = () => {
    this.vcpu(this.view(0), 0, "reader").load(0, 0);
  };

  writer(id: number): () => void {
    return () => this.vcpu(this.view(id), id, `writer${id}`).store(0, id, 11 + id);
  }

  /**
   * Of one entry a thread looks at its own word, and once more if another marked it meanwhile; then it sleeps until
   * the entry is no more.
   */
  private checkLook(step: Step, names: readonly string[]): void {
    const { control, layout } = this.memory;
    if (step.kind !== "load" || step.words !== control || step.index !== layout.ptes + SLOT) return;
    const { PTE_ENTRY, PTE_STATE_MASK } = this.production.layout;
    if ((step.value & PTE_STATE_MASK) !== PTE_ENTRY) return;
    const looks = this.looks.add(names.indexOf(step.thread), 1);
    if (looks > 2) throw new Error(`WAIT: ${step.thread} finds one entry ${looks} times`);
  }

  against(threads: Readonly<Record<string, () => void>>, ...legal: readonly string[]): Watched {
    const { ptePfn } = this.production.layout;
    const migrator = this.migrators.thread(4, 1, ptePfn(this.pte(0, 0)));
    const scenario = this.scenario({ ...threads, migrator }, undefined, (step) =>
      this.checkLook(step, Object.keys(threads)),
    );
    return this.migrators.watch(scenario, "migrated 1", ...legal);
  }
}

/** A vCPU reads, another writes. */
function vcpus(production: Production): Watched {
  const machine = new Waiting(production);
  return machine.against({ reader: machine.reader, writer1: machine.writer(1) });
}

/** A vCPU writes, and a device pins. */
function pins(production: Production): Watched {
  const machine = new Waiting(production);
  const device = () => {
    const disk = new Device(machine, machine.view(2), 0);
    const pfn = disk.pin(0);
    disk.store(pfn, 0, 0, 21);
    disk.unpin(0, pfn);
  };
  return machine.against({ writer1: machine.writer(1), device }, "pinned 1");
}

/** A device gives its pin back: it waits for the entry of a migrator that finds the pin. */
function unpins(production: Production): Watched {
  const machine = new Waiting(production);
  const pfn = new Device(machine, machine.memory, 0).pin(0);
  const device = () => new Device(machine, machine.view(2), 0).unpin(0, pfn);
  return machine.against({ writer1: machine.writer(1), device }, "pinned 1");
}

describe("an entry is waited for", () => {
  mustMove("by a vCPU that reads and one that writes", vcpus, BOUNDS);
  mustMove("by a vCPU that writes and a pin", pins, BOUNDS);
  mustMove("by a vCPU that writes and an unpin", unpins, BOUNDS);
});

const PTE = "mm/pte";
const MARK =
  "  if (pte !== marked && casWord(memory.control, index, pte, marked) !== pte) return;\n";
const EXCHANGE = "  const entry = exchangeWord(memory.control, index, pte);\n";
const NOTIFY = "  notifyWord(memory.control, index, Number.POSITIVE_INFINITY);\n";

mustFail("an entry is waited for", BOUNDS, [
  mutant("tried again at once", vcpus, /WAIT/, [
    PTE,
    "  sleepWhile(memory, memory.control, index, marked);\n",
    "",
  ]),
  mutant("asleep without a mark (S)", vcpus, /deadlock/, [
    PTE,
    "  const marked = pte | PTE_SLEEPERS;\n",
    "  const marked = pte;\n",
  ]),
  mutant("marked by a store", vcpus, /PTE-|REF-|deadlock/, [
    PTE,
    MARK,
    "  if (pte !== marked) exchangeWord(memory.control, index, marked);\n",
  ]),
  mutant("a mark that another has made taken for an end", vcpus, /WAIT/, [
    PTE,
    MARK,
    lines("  if (pte === marked) return;", MARK),
  ]),
  mutant("the mark looked for before the entry ends (S lost)", vcpus, /deadlock/, [
    PTE,
    EXCHANGE,
    lines(
      "  const entry = loadWord(memory.control, index);",
      "  exchangeWord(memory.control, index, pte);",
      "",
    ),
  ]),
  mutant("woken before the entry ends", vcpus, /deadlock/, [
    PTE,
    EXCHANGE,
    lines(
      "  notifyWord(memory.control, index, 9);",
      EXCHANGE.trimEnd(),
      "  if (entry !== 0) return;",
      "",
    ),
  ]),
  mutant("one of two woken", vcpus, /deadlock/, [
    PTE,
    NOTIFY,
    NOTIFY.replace("Number.POSITIVE_INFINITY", "1"),
  ]),
  mutant("nobody woken", pins, /deadlock/, [PTE, NOTIFY, ""]),
  mutant("S kept in the pte that comes after", vcpus, /PTE-4|WAIT|deadlock/, [
    "migrate/migrate",
    "    finishEntry(memory, batch.slots[place] as number, makePte(pfn, flags));\n",
    "    finishEntry(memory, batch.slots[place] as number, makePte(pfn, flags | 32));\n",
  ]),
]);
