/**
 * Question: is any guest byte lost, any count wrong or any guest made to wait, when guests write, read and
 * pin pages while ksmd merges them? The whole shipped pass runs as one thread: harvest, hash, index, merge.
 *
 * Machines of 1 to 3 guests with one page each, 8 frames, two cells a page; ksmd and 1 or 2 vCPU threads
 * (or a device). Exhaustive at 2 preemptions, so ksmd is held at each of its steps while guests run.
 */
import { describe, expect, it } from "vitest";
import { Device } from "./device.js";
import type { Scenario } from "./explorer.js";
import { explorer } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import { loadProduction } from "./loader.js";
import { edit, mustFail, mustHold, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 2 };

/** Guests with equal pages, harvested once: the next pass hashes and merges them. */
function harvested(production: Production, guests: number, vcpus: readonly number[]): KsmMachine {
  const machine = new KsmMachine(production, { guests: Array(guests).fill(1), vcpus });
  for (let guest = 0; guest < guests; guest++) machine.populate(guest, 0, [7, 8]);
  machine.pass();
  return machine;
}

/** Guests 1 and 2 share a frame; guest 0 has just written these cells, the same bytes by default. */
function withNode(
  production: Production,
  vcpus: readonly number[],
  cells: readonly [number, number] = [7, 8],
): KsmMachine {
  const machine = new KsmMachine(production, { guests: [1, 1, 1], vcpus });
  if (cells[1] !== 8) machine.hashPoorly();
  machine.populate(1, 0, [7, 8]);
  machine.populate(2, 0, [7, 8]);
  machine.pass();
  machine.pass();
  machine.populate(0, 0, [...cells]);
  machine.pass();
  return machine;
}

function writer(machine: KsmMachine, vcpu: number, name: string, values: readonly number[]) {
  return () => {
    const running = machine.vcpu(machine.view(vcpu), vcpu, name);
    for (const value of values) running.store(0, 0, value);
  };
}

/** The page is written, once to what it was: ksmd must not take the new bytes for the old. */
function pair(production: Production): Scenario {
  const machine = harvested(production, 2, [0, 1]);
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    vcpu0: writer(machine, 0, "vcpu0", [1]),
    vcpu1: writer(machine, 1, "vcpu1", [7]),
  });
}

function ontoNode(production: Production): Scenario {
  const machine = withNode(production, [0, 1]);
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    vcpu0: writer(machine, 0, "vcpu0", [1]),
    vcpu1: writer(machine, 1, "vcpu1", [2]),
  });
}

/** Both sharers write: the node's frame is freed while ksmd merges a third page onto it. */
function ontoDyingNode(production: Production): Scenario {
  const machine = withNode(production, [1, 2]);
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    vcpu0: writer(machine, 0, "vcpu0", [1]),
    vcpu1: writer(machine, 1, "vcpu1", [2]),
  });
}

/** The candidate comes after the page in the scan, and is rewritten with the same bytes before or during it. */
function laterCandidate(production: Production): Scenario {
  const machine = new KsmMachine(production, { guests: [1, 1], vcpus: [1] });
  machine.populate(1, 0, [7, 8]);
  machine.pass();
  machine.pass();
  machine.populate(0, 0, [7, 8]);
  machine.pass();
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    vcpu0: writer(machine, 0, "vcpu0", [7]),
  });
}

/** Only the page that is merged away is written: the candidate must get its W back. */
function unsealed(production: Production): Scenario {
  const machine = harvested(production, 2, [1]);
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    vcpu0: writer(machine, 0, "vcpu0", [7]),
  });
}

/** A reader holds a translation of the page that is merged away; its sibling writes then. */
function siblings(production: Production): Scenario {
  const machine = harvested(production, 2, [1, 1]);
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    // It may wait for its sibling's copy, so its name does not begin with vcpu.
    reader: () => {
      const running = machine.vcpu(machine.view(0), 0, "reader");
      running.begin();
      running.load(0, 0);
      running.load(0, 0);
      running.load(0, 1);
      running.end();
    },
    writer: writer(machine, 1, "writer", [3]),
  });
}

function pinned(production: Production): Scenario {
  const machine = harvested(production, 2, []);
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    device: () => {
      const device = new Device(machine, machine.view(0), 0);
      const pfn = device.pin(0);
      device.store(pfn, 0, 0, 5);
      device.load(pfn, 0, 1);
      device.unpin(0, pfn);
    },
  });
}

describe("merge", () => {
  mustHold("a pair, both written meanwhile", pair, BOUNDS);
  mustHold("onto a node, the page and a sharer written meanwhile", ontoNode, BOUNDS);
  mustHold("onto a node whose frame is being freed", ontoDyingNode, BOUNDS);
  mustHold("a page that a sibling reads and another writes", siblings, BOUNDS);
  mustHold("a pair, the page that goes written meanwhile", unsealed, BOUNDS);
  mustHold("a candidate of a later guest, rewritten meanwhile", laterCandidate, BOUNDS);
  mustHold("two contents with one hash", different, BOUNDS);
  mustHold("a page that was pinned before the harvest", quietPin, BOUNDS);
  mustHold("a page that a device pins and writes", pinned, BOUNDS);
  mustHold("a page aimed at a node of another content", differentNode, BOUNDS);
  mustHold("a page aimed at a node, pinned before the harvest", aimedPin, BOUNDS);

  it("with ksmd held at each of its steps, guests read and write every page", async () => {
    const production = await loadProduction();
    const machine = harvested(production, 2, [0, 1]);
    const held = new Set<number>();
    let steps = 0;
    const guest = (vcpu: number) => () => {
      const running = machine.vcpu(machine.view(vcpu), vcpu, `vcpu${vcpu}`);
      running.load(0, 0);
      running.store(0, 0, 20 + vcpu);
      running.load(0, 0);
      running.load(0, 1);
    };
    const scenario = machine.ksmScenario({
      ksmd: () => machine.pass(),
      vcpu0: guest(0),
      vcpu1: guest(1),
    });
    // One preemption: ksmd stands where it was stopped until both guests have ended, or goes on first.
    const report = explorer.explore(
      {
        ...scenario,
        reset: () => {
          steps = 0;
        },
        observe: (step) => {
          if (step.thread === "ksmd") steps++;
          else held.add(steps);
          scenario.observe?.(step);
        },
      },
      { preemptions: 1, reduce: false },
    );
    expect(report.failure).toBeNull();
    expect(report.exhausted).toBe(true);
    // From before its first step to after its last, the merge itself in between.
    expect(held.has(0)).toBe(true);
    expect(held.size).toBeGreaterThan(60);
  });

  it("merges where nobody interferes, and meets every outcome where somebody does", async () => {
    const production = await loadProduction();
    const seen = new Set<string>();
    const machine = harvested(production, 2, [0]);
    explorer.explore(
      machine.ksmScenario(
        { ksmd: () => machine.pass(), vcpu0: writer(machine, 0, "vcpu0", [1]) },
        () => {
          const { pages_shared, pages_sharing, pages_unshared, ksm_ptes } = machine.counters;
          seen.add([pages_shared, pages_sharing, pages_unshared, ksm_ptes].join("/"));
        },
      ),
      BOUNDS,
    );
    // shared/sharing/unshared/ptes. Merged, and then written; written before ksmd came to it; written while
    // it was compared, so that both wait as candidates (ksmd notices the write in the next pass).
    expect([...seen].sort()).toEqual(["0/0/1/0", "0/0/2/0", "1/1/0/1"]);
  });
});

const MERGE = "ksm/merge";

mustFail("merge", BOUNDS, [
  {
    name: "the pte is stored, not compared and swapped (H46)",
    edits: [
      edit(
        "mm/pte",
        "  if (casWord(memory.control, memory.layout.ptes + slot, expected, pte) === expected) return true;\n  // ORDER ksmPtes.undo",
        "  if (exchangeWord(memory.control, memory.layout.ptes + slot, pte) !== 0) return true;\n  // ORDER ksmPtes.undo",
      ),
    ],
    build: pair,
    what: /PTE|REF|LIMBO|FREE/,
  },
  {
    name: "the candidate is not sealed (O6)",
    edits: [
      edit(MERGE, "if (!casPteMerged(memory, candidate, candidatePte, sealed)) return STALE;", ""),
    ],
    build: pair,
    what: /PTE-3|PTE-1|STABLE/,
  },
  {
    name: "the candidate stays sealed after the page's CAS failed (H50, H58)",
    edits: [edit(MERGE, "  casPteUnmerged(memory, candidate, sealed, candidatePte);\n", "")],
    build: unsealed,
    what: /PTE-3/,
  },
  {
    name: "bytes are not compared (H42)",
    edits: [
      edit(MERGE, "return shard.memory.kernels.equalPages(a, b);", "return true;"),
      edit(
        "ksm/peek",
        "function wordsDiffer(memory: Memory, a: Pfn, b: Pfn): boolean {\n",
        "function wordsDiffer(memory: Memory, a: Pfn, b: Pfn): boolean {\n  if (a >= 0) return false;\n",
      ),
    ],
    build: different,
    what: /PTE-1/,
  },
  {
    name: "the target's mapcount is raised after the pte names it (O7, H54)",
    edits: [
      edit(MERGE, "  addMapping(memory, target);\n  if (!casPteMerged", "  if (!casPteMerged"),
      edit(
        MERGE,
        "  dropMapping(memory, ptePfn(pte));\n  pushLimbo",
        "  addMapping(memory, target);\n  dropMapping(memory, ptePfn(pte));\n  pushLimbo",
      ),
    ],
    build: ontoNode,
    what: /REF-4/,
  },
  {
    name: "the reference count is not looked at: a pinned page is merged (H43)",
    edits: [edit(MERGE, "return pageRef(memory, pfn) === 2;", "return pageRef(memory, pfn) >= 2;")],
    build: quietPin,
    what: /PIN-1|PTE-1|REF/,
  },
  {
    name: "a candidate is merged that was written since it was hashed",
    edits: [
      edit(
        "ksm/place",
        "if (getBit(shard.memory, shard.memory.layout.hot, number)) return STALE;",
        "getBit(shard.memory, shard.memory.layout.hot, number);",
      ),
    ],
    build: laterCandidate,
    what: /ITEM-2/,
  },
  {
    name: "the old frame is freed at once, without limbo",
    edits: [
      edit(
        MERGE,
        "pushLimbo(memory, guestOfSlot(memory, slot), ptePfn(pte));",
        "putPage(memory, ptePfn(pte)); guestOfSlot(memory, slot);",
      ),
    ],
    build: siblings,
    what: /PTE-1/,
  },
  {
    name: "the mapping word names the node before it is linked (O8, H16)",
    edits: [
      edit(
        MERGE,
        "  addSharer(shard, stable, candidate);\n",
        "  setKsmMapping(memory, target, keyOf(memory, stable));\n  addSharer(shard, stable, candidate);\n",
      ),
    ],
    build: pair,
    what: /MAP-2/,
  },
]);

const AIM = "ksm/aim";

// "Onto a node" and "whose frame is being freed", above, aim a page at one.
mustFail("a page aimed at a node", BOUNDS, [
  mutant("its pte is read again for the CAS (H46)", ontoNode, /PTE-1|ITEM|REF|STABLE/, [
    AIM,
    "batch.ptes[i] as number, stable",
    "readPte(memory, slot), stable",
  ]),
  mutant(
    "the node's frame is let go before the merge (O7, H12)",
    ontoDyingNode,
    /REF|MAP|PTE|STABLE|RMAP/,
    [
      AIM,
      "  if (treeOfFrame(memory, target) === treeOfFrame(memory, pfn)) return target;\n  putPage(memory, target);",
      "  putPage(memory, target);\n  if (treeOfFrame(memory, target) === treeOfFrame(memory, pfn)) return target;",
    ],
    [
      AIM,
      "  putPage(memory, target);\n  putPage(memory, batch.pfns[i] as number);",
      "  putPage(memory, batch.pfns[i] as number);",
    ],
  ),
  mutant("bytes are not compared (H42)", differentNode, /PTE-1/, [
    AIM,
    "if (target === NONE || comparePages(shard, batch.pfns[i] as number, target)) return;",
    "if (target >= NONE) return;\n  comparePages(shard, target, target);",
  ]),
  mutant("the reference count is not looked at (H43)", aimedPin, /PIN-1|PTE-1|REF/, [
    AIM,
    "content !== NO_CONTENT && heldByUsAlone(memory, batch.pfns[i] as number)",
    "content !== NO_CONTENT",
  ]),
  mutant("a frame of the batch is let go twice", ontoNode, /REF-1|FREE/, [
    AIM,
    "    if (target === NONE) putPage(memory, batch.pfns[i] as number);",
    "    putPage(memory, batch.pfns[i] as number);",
  ]),
]);

/** Two contents with one hash. */
function different(production: Production): Scenario {
  const machine = new KsmMachine(production, { guests: [1, 1], vcpus: [] });
  machine.hashPoorly();
  machine.populate(0, 0, [7, 8]);
  machine.populate(1, 0, [7, 9]);
  machine.pass();
  return machine.ksmScenario({ ksmd: () => machine.pass() });
}

/** A content with the hash of a node that has another. */
function differentNode(production: Production): Scenario {
  const machine = withNode(production, [], [7, 9]);
  return machine.ksmScenario({ ksmd: () => machine.pass() });
}

/** A page that was pinned before the harvest, and whose pin writes while ksmd merges. */
function quietPin(production: Production): Scenario {
  const machine = new KsmMachine(production, { guests: [1, 1], vcpus: [] });
  machine.populate(0, 0, [7, 8]);
  machine.populate(1, 0, [7, 8]);
  return writtenByPin(machine);
}

/** The same, and its content has a node. */
function aimedPin(production: Production): Scenario {
  return writtenByPin(withNode(production, []));
}

function writtenByPin(machine: KsmMachine): Scenario {
  const before = new Device(machine, machine.view(0), 0);
  const pfn = before.pin(0);
  machine.pass();
  return machine.ksmScenario({
    ksmd: () => machine.pass(),
    device: () => {
      const device = new Device(machine, machine.view(0), 0);
      device.store(pfn, 0, 0, 5);
      device.load(pfn, 0, 0);
      device.unpin(0, pfn);
    },
  });
}
