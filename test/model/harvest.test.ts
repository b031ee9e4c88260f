/**
 * Question: after a harvest, is a page with D clear and not hot really as it was hashed? One or two vCPUs
 * write while ksmd does one or two whole passes over their guest; afterwards every trusted hash is compared
 * with the bytes. Machines of one guest with one page, exhaustive at 2 preemptions.
 */
import { describe } from "vitest";
import { Device } from "./device.js";
import type { Scenario } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import { edit, mustFail, mustHold } from "./mutants.js";

const BOUNDS = { preemptions: 2 };

/** One page, seen and quiet: the next pass hashes it. `scanMs` 0: a shootdown gives up at once. */
function seenPage(production: Production, vcpus: readonly number[], scanMs = 1): KsmMachine {
  const machine = new KsmMachine(production, { guests: [1], vcpus, scanMs });
  machine.populate(0, 0, [7, 8]);
  machine.pass();
  return machine;
}

/** ITEM-3: a trusted hash is that of the bytes, unless the pte has D. */
function checkHash(machine: KsmMachine): void {
  const { layout } = machine.production;
  const { control, layout: at } = machine.memory;
  const item = at.items + machine.slot(0, 0) * layout.ITEM_WORDS;
  const pte = machine.pte(0, 0);
  if (((control[item + layout.ITEM_STATE] as number) & layout.ITEM_TRUSTED) === 0) return;
  if ((pte & layout.PTE_DIRTY) !== 0) return;
  for (const cell of [0, 1]) {
    const hash = control[item + cell];
    const last = machine.lastWritten(0, 0, cell);
    if (hash !== last) throw new Error(`ITEM-3: cell ${cell} hashed as ${hash}, is ${last}`);
  }
}

function store(machine: KsmMachine, vcpu: number, name: string, values: readonly number[]) {
  return () => {
    const running = machine.vcpu(machine.view(vcpu), vcpu, name);
    running.begin();
    for (const value of values) running.store(0, 0, value);
    running.end();
  };
}

function oneWriter(production: Production): Scenario {
  const machine = seenPage(production, [0]);
  return machine.ksmScenario(
    {
      ksmd: () => {
        machine.pass();
        machine.pass();
      },
      vcpu0: store(machine, 0, "vcpu0", [1, 2]),
    },
    () => checkHash(machine),
  );
}

function twoWriters(production: Production): Scenario {
  const machine = seenPage(production, [0, 0]);
  return machine.ksmScenario(
    {
      ksmd: () => machine.pass(),
      vcpu0: store(machine, 0, "vcpu0", [1]),
      vcpu1: store(machine, 1, "vcpu1", [2]),
    },
    () => checkHash(machine),
  );
}

function givenUp(production: Production): Scenario {
  const machine = seenPage(production, [0], 0);
  return machine.ksmScenario(
    {
      ksmd: () => {
        machine.pass();
        machine.pass();
      },
      vcpu0: store(machine, 0, "vcpu0", [1, 2]),
    },
    () => checkHash(machine),
  );
}

/** A device writes through a pin that it took before the harvest. */
function device(production: Production): Scenario {
  const machine = seenPage(production, []);
  const pfn = new Device(machine, machine.view(0), 0).pin(0);
  machine.pass();
  return machine.ksmScenario(
    {
      ksmd: () => machine.pass(),
      device: () => {
        const writing = new Device(machine, machine.view(0), 0);
        writing.store(pfn, 0, 0, 5);
        writing.unpin(0, pfn);
      },
    },
    () => checkHash(machine),
  );
}

describe("harvest", () => {
  mustHold("one vCPU that writes twice, two passes", oneWriter, BOUNDS);
  mustHold("two vCPUs", twoWriters, BOUNDS);
  mustHold("shootdowns that are given up", givenUp, BOUNDS);
  mustHold("a device that unpins", device, BOUNDS);
});

mustFail("harvest", BOUNDS, [
  {
    name: "no shootdown",
    edits: [
      edit(
        "ksm/harvest",
        "if (cleared === 0 && limbo === NONE) return true;",
        "if (limbo === NONE) return true;",
      ),
    ],
    build: oneWriter,
    what: /ITEM-3/,
  },
  {
    name: "a shootdown that was given up, and D not set again",
    edits: [edit("ksm/harvest", "  restoreDirty(memory, guest);\n", "")],
    build: givenUp,
    what: /ITEM-3/,
  },
  {
    name: "the hash is trusted without reading the pte again",
    edits: [
      edit(
        "ksm/visit",
        "const unchanged = readPte(memory, slot) === batch.ptes[i];",
        "const unchanged = batch.ptes[i] !== 0;",
      ),
    ],
    build: (production) => {
      const machine = seenPage(production, [0]);
      return machine.ksmScenario(
        { ksmd: () => machine.pass(), vcpu0: store(machine, 0, "vcpu0", [1]) },
        () => checkTrusted(machine),
      );
    },
    what: /ITEM-3/,
  },
  {
    name: "D not set on a write fill",
    edits: [
      edit(
        "mm/tlb",
        "if (write && pte !== dirty && !casPte(memory, slot, pte, dirty)) continue;",
        "",
      ),
    ],
    build: oneWriter,
    what: /ITEM-3/,
  },
]);

/** As checkHash, and at the moment the hash is taken: torn bytes must not be trusted even with D set since. */
function checkTrusted(machine: KsmMachine): void {
  const { layout } = machine.production;
  const { control, layout: at } = machine.memory;
  const item = at.items + machine.slot(0, 0) * layout.ITEM_WORDS;
  if (((control[item + layout.ITEM_STATE] as number) & layout.ITEM_TRUSTED) === 0) return;
  const hash = [control[item], control[item + 1]];
  if (hash[0] !== 7 && (machine.pte(0, 0) & layout.PTE_DIRTY) !== 0) {
    throw new Error(`ITEM-3: a hash of ${hash} was trusted while the page was being written`);
  }
}
