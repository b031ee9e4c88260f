/**
 * Question: does an unmerge leave no merged page behind, and lose nothing, while guests read and write the
 * pages and copy them themselves? Machines of two guests that share a frame; ksmd unmerges (run = 2, or one
 * region); one or two vCPUs. Exhaustive at 2 preemptions.
 */
import { describe } from "vitest";
import type { Scenario } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import { edit, mustFail, mustHold } from "./mutants.js";

const BOUNDS = { preemptions: 2 };

function merged(production: Production, vcpus: readonly number[], options = {}): KsmMachine {
  const machine = new KsmMachine(production, { guests: [1, 1], vcpus, ...options });
  for (const guest of [0, 1]) machine.populate(guest, 0, [7, 8]);
  machine.pass();
  machine.pass();
  return machine;
}

function vcpu(machine: KsmMachine, id: number, name: string, value: number | null) {
  return () => {
    const running = machine.vcpu(machine.view(id), id, name);
    running.begin();
    running.load(0, 0);
    if (value !== null) running.store(0, 0, value);
    running.load(0, 1);
    running.load(0, 0);
    running.end();
  };
}

function scenario(machine: KsmMachine, threads: Scenario["threads"], check: () => void): Scenario {
  return machine.scenario(threads, () => {
    machine.checkCounts();
    check();
  });
}

/** Nothing is merged, nothing is counted, and the next passes merge again. */
function expectUnmerged(machine: KsmMachine): void {
  const { counters } = machine;
  if (counters.ksm_ptes !== 0) throw new Error(`UNMERGE-1: ${counters.ksm_ptes} ptes left merged`);
  if (counters.pages_shared + counters.pages_sharing !== 0) throw new Error("UNMERGE-1: counted");
}

/** run = 2 against a writer of one guest and a reader of the other. */
function everything(production: Production): Scenario {
  const machine = merged(production, [0, 1]);
  return scenario(
    machine,
    {
      ksmd: () => production.control.setKnobs(machine.shard, { run: 2 }),
      writer: vcpu(machine, 0, "writer", 1),
      reader: vcpu(machine, 1, "reader", null),
    },
    () => expectUnmerged(machine),
  );
}

/** Two vCPUs of one guest: one writes the page's own copy while the other still reads the shared frame. */
function siblings(production: Production): Scenario {
  const machine = merged(production, [0, 0]);
  return scenario(
    machine,
    {
      ksmd: () => production.control.setKnobs(machine.shard, { run: 2 }),
      writer: vcpu(machine, 0, "writer", 1),
      reader: vcpu(machine, 1, "reader", null),
    },
    () => expectUnmerged(machine),
  );
}

/** One region; the other guest stays as it is, and its node with it. */
function region(production: Production): Scenario {
  const machine = merged(production, [0]);
  return scenario(
    machine,
    {
      ksmd: () => {
        production.lifecycle.makeUnmergeable(machine.shard, 0, 0, 1);
      },
      writer: vcpu(machine, 0, "writer", 1),
    },
    () => {
      if ((machine.pte(0, 0) & production.layout.PTE_MERGED) !== 0) {
        throw new Error("UNMERGE-1: the region has a merged page");
      }
    },
  );
}

/** A vCPU that may not answer in time: given up, every pte is as it was, and run is 0. */
function givenUp(production: Production): Scenario {
  const machine = merged(production, [0], { faultMs: 0 });
  return scenario(
    machine,
    {
      ksmd: () => {
        const outcome = production.lifecycle.unmergeEverything(machine.shard);
        if (outcome === 0) expectUnmerged(machine);
      },
      reader: vcpu(machine, 0, "reader", null),
    },
    () => {},
  );
}

describe("unmerge", () => {
  mustHold("run = 2 against a writer and a reader of the guests", everything, BOUNDS);
  mustHold("run = 2 against two vCPUs of one guest", siblings, BOUNDS);
  mustHold("a region against a writer", region, BOUNDS);
  mustHold("given up", givenUp, BOUNDS);
});

const UNMERGE = "ksm/unmerge";

mustFail("unmerge", BOUNDS, [
  {
    name: "entry treated as absent: another's copy is under way, and its page passed over (H31)",
    edits: [
      edit(
        UNMERGE,
        "        if (count > 0 && batch.slots[count - 1] === slot) slot++;\n        else foreign = pte;",
        "        slot++;",
      ),
      // The copy that is under way is given up, so that the page stays merged.
      edit(
        "mm/fault",
        "  addMapping(memory, copy);\n  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));",
        "  if (slot >= 0) {\n    finishEntry(memory, slot, pte);\n    putPage(memory, copy);\n    return FAULT_RETRY;\n  }\n  addMapping(memory, copy);\n  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));",
      ),
    ],
    build: (production) => oneRetry(production),
    what: /UNMERGE-1|MAP-[12]/,
  },
  {
    name: "copies installed without a shootdown",
    edits: [
      edit(
        UNMERGE,
        "awaitShootdown(memory, guest, SHOOTDOWN_ALL, seq, faultMs) === NONE",
        "(awaitShootdown, seq, faultMs) > 0",
      ),
    ],
    build: siblings,
    what: /PTE-1/,
  },
  {
    name: "the pte is not read again after its frame was held",
    edits: [
      edit(
        UNMERGE,
        "  if (readPte(memory, slot) !== pte) {\n    putPage(memory, old);\n    return 0;\n  }\n",
        "",
      ),
      edit(
        UNMERGE,
        "const changed = !casPte(memory, slot, pte, entryFor(pte));",
        "casPte(memory, slot, pte, entryFor(pte)); const changed = false;",
      ),
    ],
    build: everything,
    what: /PTE-4|PTE-5|REF/,
  },
  {
    name: "the old mapping's reference is kept",
    edits: [
      edit(
        UNMERGE,
        "  dropMapping(memory, ptePfn(pte));\n  putPage(memory, ptePfn(pte));\n",
        "  dropMapping(memory, ptePfn(pte));\n",
      ),
    ],
    build: everything,
    what: /REF-1/,
  },
  {
    name: "waiters of the entry are not woken",
    edits: [edit("mm/pte", "  notifyWord(memory.control, index, Number.POSITIVE_INFINITY);\n", "")],
    build: everything,
    what: /deadlock/,
  },
]);

/** The fault's copy is given up once and not tried again: a page whose entry ends as it was. */
function oneRetry(production: Production): Scenario {
  const machine = merged(production, []);
  return scenario(
    machine,
    {
      ksmd: () => production.control.setKnobs(machine.shard, { run: 2 }),
      copier: () => {
        const memory = machine.view(0);
        const slot = machine.slot(0, 0);
        const pte = production.pte.readPte(memory, slot);
        if ((pte & production.layout.PTE_MERGED) !== 0 && production.pte.pteIsPresent(pte)) {
          production.fault.breakCow(memory, slot, pte);
        }
      },
    },
    () => expectUnmerged(machine),
  );
}
