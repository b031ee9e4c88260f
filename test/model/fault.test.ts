/**
 * Question: do faults of several vCPUs on one page lose a write, show a stale or torn page, miscount a
 * reference, or leave somebody asleep; and does a fault that fails leave the guest as it was?
 * Threads: two or three vCPUs of one or two guests. Frames: 1 to 4. Bounds: 3 preemptions; 2 where three
 * vCPUs meet on one page.
 */
import { describe } from "vitest";
import type { Scenario } from "./explorer.js";
import type { Production } from "./loader.js";
import { TinyMachine, type TinyVcpu } from "./machine.js";
import { lines, mustFail, mustHold, mutant } from "./mutants.js";
import { TinyKsmd } from "./tiny-ksmd.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };
/** Page 0 of guests 0 and 1. */
const BOTH = [
  [0, 0],
  [1, 0],
] as const;

type Script = (cpu: TinyVcpu) => void;

/** One thread a vCPU, each with its script. */
function vcpus(machine: TinyMachine, scripts: readonly Script[]): Scenario["threads"] {
  return Object.fromEntries(
    scripts.map((script, id) => [
      `vcpu${id}`,
      () => script(machine.vcpu(machine.view(id), id, `vcpu${id}`)),
    ]),
  );
}

function inSection(script: Script): Script {
  return (cpu) => {
    cpu.begin();
    script(cpu);
    cpu.end();
  };
}

/** Two vCPUs write one shared page: one copies, the other waits or finds the copy. */
function writers(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, guests: [1, 1], vcpus: [0, 0] });
  machine.share(BOTH, [5, 6], 1);
  return machine.scenario(
    vcpus(machine, [
      inSection((cpu) => {
        cpu.store(0, 0, 11);
        cpu.load(0, 1);
      }),
      inSection((cpu) => {
        cpu.load(0, 0);
        cpu.store(0, 1, 12);
        cpu.load(0, 0);
      }),
    ]),
  );
}

/** A page that a fork shared; two of its guest's vCPUs write, the third reads on (3l). */
function forked(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, guests: [1, 1], vcpus: [0, 0, 0] });
  production.guest.joinFamily(machine.memory, 1, 0);
  machine.share(BOTH, [5, 6], -1);
  return machine.scenario(
    vcpus(machine, [
      (cpu) => cpu.store(0, 0, 11),
      (cpu) => cpu.store(0, 1, 12),
      inSection((cpu) => {
        cpu.load(0, 0);
        cpu.load(0, 0);
      }),
    ]),
  );
}

/** The last two sharers leave a frame, and a page of the first is filled, perhaps with that frame. */
function lastSharers(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, guests: [2, 1], vcpus: [0, 1] });
  machine.share(BOTH, [5, 6], 1);
  return machine.scenario(
    vcpus(machine, [
      (cpu) => {
        cpu.store(0, 0, 11);
        cpu.store(1, 0, 12);
        cpu.load(1, 1);
      },
      inSection((cpu) => {
        cpu.load(0, 0);
        cpu.store(0, 1, 13);
        cpu.load(0, 0);
      }),
    ]),
  );
}

/** A page without a frame, written by two vCPUs at once and read by them. */
function demandZero(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 1, vcpus: [0, 0] });
  return machine.scenario(
    vcpus(machine, [
      inSection((cpu) => {
        cpu.load(0, 0);
        cpu.store(0, 0, 11);
        cpu.load(0, 1);
      }),
      inSection((cpu) => {
        cpu.load(0, 0);
        cpu.store(0, 1, 12);
        cpu.load(0, 0);
      }),
    ]),
  );
}

/** One frame is left and two guests want it: one write is refused, and its guest keeps every byte. */
function exhausted(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 1, guests: [1, 1], vcpus: [0, 1] });
  machine.share(BOTH, [5, 6], 1);
  const results: (string | null)[] = [null, null];
  const writer = (id: number): Script =>
    inSection((cpu) => {
      cpu.load(0, 0);
      results[id] = cpu.tryStore(0, 0, 11 + id);
      cpu.load(0, 0);
    });
  return machine.scenario(vcpus(machine, [writer(0), writer(1)]), () => {
    machine.checkCounts();
    const refused = results.filter((code) => code === "PAGEFOLD_NO_FRAME").length;
    if (refused > 1) throw new Error("FAULT-1: both were refused");
  });
}

/** A sibling that reaches no safepoint: the write is given up, and the third vCPU's wait for the entry ends. */
function givenUp(production: Production): Scenario {
  const machine = new TinyMachine(production, {
    framesShift: 2,
    guests: [1, 1],
    vcpus: [0, 0],
    faultMs: 0,
  });
  machine.share(BOTH, [5, 6], 1);
  return machine.scenario(
    vcpus(machine, [
      (cpu) => {
        const code = cpu.tryStore(0, 0, 11);
        if (code !== null && code !== "PAGEFOLD_VCPU_STUCK") throw new Error(`FAULT-1: ${code}`);
        cpu.load(0, 0);
      },
      inSection((cpu) => {
        cpu.load(0, 0);
        cpu.tryStore(0, 1, 12);
        cpu.load(0, 1);
      }),
    ]),
  );
}

/**
 * While one vCPU copies a page, others leave its frame, reuse it, write it, and merge the page onto it again:
 * the pte is the very word that it was, the frame another.
 */
function comesBack(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 3, guests: [1, 2], vcpus: [0, 0, 1] });
  const frame = machine.share(BOTH, [5, 6], 1);
  const { layout, pageMapping, pte: ptes } = production;
  const reuse = () => {
    const memory = machine.view(3);
    const sibling = machine.vcpu(memory, 1, "others");
    sibling.store(0, 0, 7);
    sibling.store(0, 1, 8);
    const other = machine.vcpu(memory, 2, "others");
    other.store(0, 0, 9);
    other.store(1, 0, 7);
    other.store(1, 1, 8);
    const ksmd = new TinyKsmd(machine, memory);
    const slot = machine.slot(1, 1);
    const quiet = layout.makePte(frame, layout.PTE_PRESENT | layout.PTE_WRITABLE);
    const sealed = layout.makePte(frame, layout.PTE_PRESENT | layout.PTE_MERGED);
    const again = ksmd.harvest(1, 1) && ptes.casPteMerged(memory, slot, quiet, sealed);
    if (!again) return;
    pageMapping.setKsmMapping(memory, frame, machine.key(2));
    if (ksmd.harvest(0, 0)) ksmd.merge(0, 0, frame);
  };
  return machine.scenario({
    copier: () => machine.vcpu(machine.view(0), 0, "copier").store(0, 0, 11),
    others: reuse,
  });
}

describe("fault", () => {
  mustHold("two vCPUs write one shared page", writers, BOUNDS);
  mustHold("two write and one reads a forked page", forked, NARROW);
  mustHold("the last sharers leave, and the frame is reused", lastSharers, BOUNDS);
  mustHold("two vCPUs fill one page", demandZero, BOUNDS);
  mustHold("one frame for two writers", exhausted, BOUNDS);
  mustHold("a fault that gives up", givenUp, NARROW);
  mustHold("a frame that comes back as another", comesBack, NARROW);
});

const FAULT = "mm/fault";
const PTE = "mm/pte";

// The second look at the pte in breakCow cannot be caught here: the CAS that follows repeats it, and a frame
// of which the copier holds a reference is not sealed meanwhile (ksm/merge.ts counts the references).
mustFail("fault", NARROW, [
  mutant(
    "the copy installed writable, then the shootdown (3l)",
    forked,
    /PTE-1/,
    [
      FAULT,
      "  if (!casPte(memory, slot, pte, entryFor(pte))) {",
      lines(
        "  addMapping(memory, copy);",
        "  if (!casPte(memory, slot, pte, makePte(copy, PTE_PRIVATE))) {",
      ),
    ],
    [
      FAULT,
      "  addMapping(memory, copy);\n  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));\n",
      "",
    ],
  ),
  mutant("waiters not woken", writers, /deadlock/, [
    PTE,
    "  notifyWord(memory.control, index, Number.POSITIVE_INFINITY);\n",
    "",
  ]),
  mutant("an entry ended by load and store", writers, /deadlock/, [
    PTE,
    "const entry = exchangeWord(memory.control, index, pte);",
    "const entry = loadWord(memory.control, index); exchangeWord(memory.control, index, pte);",
  ]),
  mutant(
    "a sleeper that does not mark the entry",
    writers,
    /deadlock/,
    [
      PTE,
      "if (pte !== marked && casWord(memory.control, index, pte, marked) !== pte) return;\n",
      "",
    ],
    [
      PTE,
      "sleepWhile(memory, memory.control, index, marked)",
      "sleepWhile(memory, memory.control, index, pte)",
    ],
  ),
  mutant("an entry taken for a present pte (H88)", writers, /PTE-1/, [
    PTE,
    "return (pte & PTE_STATE_MASK) === PTE_PRESENT;",
    "return (pte & PTE_STATE_MASK) !== 0;",
  ]),
  mutant("the old mapping's reference kept", writers, /REF-1/, [
    FAULT,
    "  putPage(memory, ptePfn(pte));\n",
    "",
  ]),
  mutant("the old mapping's reference dropped twice", lastSharers, /REF-1/, [
    FAULT,
    "  putPage(memory, ptePfn(pte));\n",
    "  putPage(memory, ptePfn(pte));\n  putPage(memory, ptePfn(pte));\n",
  ]),
  mutant("the old mapping still counted", writers, /REF-4/, [
    FAULT,
    "  dropMapping(memory, ptePfn(pte));\n",
    "",
  ]),
  mutant("the copier's own reference kept", writers, /REF-1/, [
    FAULT,
    "  putPage(memory, old);\n  return outcome;",
    "  return outcome;",
  ]),
  mutant(
    "no reference while the page is copied",
    comesBack,
    /PTE-1/,
    [FAULT, "  if (tryGetPage(memory, old) !== REF_HELD) return FAULT_RETRY;\n", ""],
    [FAULT, "  putPage(memory, old);\n  return outcome;", "  return outcome;"],
  ),
  mutant("the new mapping counted after it is installed", writers, /REF-4/, [
    FAULT,
    "  addMapping(memory, copy);\n  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));",
    "  finishEntry(memory, slot, makePte(copy, PTE_PRIVATE));\n  addMapping(memory, copy);",
  ]),
  mutant(
    "copied after the copy is installed",
    writers,
    /PTE-1/,
    [FAULT, "  memory.kernels.copyPage(copy, old);\n", ""],
    [
      FAULT,
      "  putPage(memory, old);\n  return outcome;",
      "  memory.kernels.copyPage(copy, old);\n  putPage(memory, old);\n  return outcome;",
    ],
  ),
  mutant(
    "the count of KSM ptes lowered first",
    writers,
    /PTE-5/,
    [
      PTE,
      "  const entry = exchangeWord(memory.control, index, pte);",
      lines(
        "  if ((loadWord(memory.control, index) & PTE_MERGED) !== 0) dropKsmPte(memory);",
        "  const entry = exchangeWord(memory.control, index, pte);",
      ),
    ],
    [PTE, "if ((entry & PTE_MERGED) !== 0 && (pte & PTE_MERGED) === 0) dropKsmPte(memory);", ""],
  ),
  mutant("the count of KSM ptes not lowered", writers, /PTE-5/, [
    PTE,
    "  if ((entry & PTE_MERGED) !== 0 && (pte & PTE_MERGED) === 0) dropKsmPte(memory);\n",
    "",
  ]),
  mutant("a pte changed by load and store", writers, /PTE-4|PTE-5/, [
    PTE,
    lines(
      "return casWord(memory.control, memory.layout.ptes + slot, expected, pte) === expected;",
      "}",
      "",
      "/** As casPte, for a transition that sets M. */",
    ),
    lines(
      "if (loadWord(memory.control, memory.layout.ptes + slot) !== expected) return false;",
      "exchangeWord(memory.control, memory.layout.ptes + slot, pte);",
      "return true;",
      "}",
      "",
      "/** As casPte, for a transition that sets M. */",
    ),
  ]),
  mutant("given up, and the entry left", givenUp, /PTE-4|deadlock/, [
    FAULT,
    "    finishEntry(memory, slot, pte);\n",
    "",
  ]),
  mutant("given up, and the copy kept", givenUp, /REF-1/, [
    FAULT,
    "    finishEntry(memory, slot, pte);\n    putPage(memory, copy);\n",
    "    finishEntry(memory, slot, pte);\n",
  ]),
  mutant("given up, and the copy installed all the same", givenUp, /PTE-1/, [
    FAULT,
    "    finishEntry(memory, slot, pte);\n    putPage(memory, copy);\n    return FAULT_STUCK;\n",
    "",
  ]),
  mutant("no frame, and the old one still held", exhausted, /REF-1/, [
    FAULT,
    "    putPage(memory, old);\n    return FAULT_NO_FRAME;",
    "    return FAULT_NO_FRAME;",
  ]),
  mutant("a frame installed unzeroed", demandZero, /PTE-1/, [
    FAULT,
    "  memory.kernels.zeroPage(pfn);\n",
    "",
  ]),
  mutant("zeroed after it is installed", demandZero, /PTE-1/, [
    FAULT,
    "  memory.kernels.zeroPage(pfn);\n  installPrivate(memory, slot, pfn);",
    "  installPrivate(memory, slot, pfn);\n  memory.kernels.zeroPage(pfn);",
  ]),
  mutant("installed whatever the pte is", demandZero, /PTE-1|REF-1/, [
    FAULT,
    "casPte(memory, slot, PTE_NONE, makePte(pfn, PTE_PRIVATE))",
    "casPte(memory, slot, readPte(memory, slot), makePte(pfn, PTE_PRIVATE))",
  ]),
  mutant("not installed, and not freed", demandZero, /REF-1/, [
    FAULT,
    "  dropMapping(memory, pfn);\n  putPage(memory, pfn);\n  return false;",
    "  return false;",
  ]),
]);
