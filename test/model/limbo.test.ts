/**
 * Question: is a frame that lost its mapping without a shootdown kept until no vCPU can read it, and then
 * freed exactly once?
 * Threads: a vCPU that reads on through its TLB, ksmd that merges and drains, an allocator that reuses
 * frames, a second drain or shootdown. Frames: 4. Bounds: 3 preemptions for two threads, 2 for three.
 */
import { describe } from "vitest";
import type { Scenario } from "./explorer.js";
import type { Production } from "./loader.js";
import { TinyMachine, type TinyOptions } from "./machine.js";
import { type Build, lines, mustFail, mustHold, mutant } from "./mutants.js";
import { TinyKsmd } from "./tiny-ksmd.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };

/**
 * Guest 1 maps KSM frame 0; page 0 of guest 0 has the same bytes in frame 1, quiet. The page gfn 1 of guest 1
 * has no frame yet: whoever fills it takes the next free frame.
 */
class Merging extends TinyMachine {
  readonly target: number;
  readonly old: number;

  constructor(production: Production, options: TinyOptions = {}) {
    super(production, { framesShift: 1, guests: [2, 2], vcpus: [0, 1], ...options });
    this.target = this.share([[1, 0]], [5, 6], 1);
    this.old = this.populate(0, 0, [5, 6]);
    this.quiet(0, 0);
  }

  /** Reads the page twice within a section. */
  reader = () => {
    const cpu = this.vcpu(this.view(1), 0, "reader");
    cpu.begin();
    cpu.load(0, 0);
    cpu.load(0, 0);
    cpu.end();
  };

  drain = (memory = this.view(2)) => {
    this.production.limbo.drainLimbo(memory, 0, memory.patience.scanMs);
  };

  merge = () => new TinyKsmd(this, this.view(2)).merge(0, 0, this.target);

  ksmd = () => {
    if (this.merge()) this.drain();
  };

  /** Fills a page, with the frame that was merged away if it is free; drains when there is none. */
  allocator = () => this.vcpu(this.view(3), 1, "allocator").tryStore(1, 0, 99);
}

const reads: Build = (production) => {
  const machine = new Merging(production);
  const { reader, ksmd } = machine;
  return machine.scenario({ reader, ksmd });
};

const reuses: Build = (production) => {
  const machine = new Merging(production);
  const { reader, ksmd, allocator } = machine;
  return machine.scenario({ reader, ksmd, allocator: () => void allocator() });
};

/** A drain that began before the frame came to limbo is no stamp for it (3o). */
const earlyDrain: Build = (production) => {
  const machine = new Merging(production);
  const { reader, merge } = machine;
  return machine.scenario({
    reader,
    merger: () => void merge(),
    allocator: () => {
      machine.drain();
      machine.allocator();
    },
  });
};

/** The only frame left is in limbo: an allocator gets it. */
const forced: Build = (production) => {
  const machine = new Merging(production);
  machine.merge();
  let refused: string | null = null;
  return machine.scenario(
    {
      reader: machine.reader,
      allocator: () => {
        refused = machine.allocator();
      },
    },
    () => {
      machine.checkCounts();
      if (refused !== null) throw new Error(`LIMBO-2: ${refused}, and a frame in limbo`);
    },
  );
};

/** What would be the allocator's is on the private list of another's drain: it waits for nobody. */
const inOthersHand: Build = (production) => {
  const machine = new Merging(production);
  machine.merge();
  const allocator = () => {
    const code = machine.allocator();
    if (code !== null) throw new Error(`refused: ${code}`);
  };
  return machine.scenario({ drain: () => machine.drain(), allocator });
};

/** Drains that cannot wait: what is given up goes back to the list, beside what came meanwhile. */
function givesUp(production: Production): Scenario {
  const machine = new Merging(production, { scanMs: 0, framesShift: 2 });
  machine.populate(0, 1, [5, 6]);
  machine.quiet(0, 1);
  const { reader } = machine;
  return machine.scenario({
    reader,
    first: () => {
      machine.merge();
      machine.drain(machine.view(2));
    },
    second: () => {
      new TinyKsmd(machine, machine.view(3)).merge(0, 1, machine.target);
      machine.drain(machine.view(3));
    },
  });
}

/** Two frames on one list; whoever is given the first of them uses its link word for itself. */
function twoFrames(production: Production): Scenario {
  const machine = new Merging(production, { framesShift: 2 });
  machine.populate(0, 1, [5, 6]);
  machine.quiet(0, 1);
  const ksmd = new TinyKsmd(machine, machine.memory);
  ksmd.merge(0, 0, machine.target);
  ksmd.merge(0, 1, machine.target);
  machine.populate(1, 1, [0, 0]);
  const { frames } = production;
  return machine.scenario(
    {
      drain: () => machine.drain(),
      allocator: () => {
        const pfn = frames.allocFrame(machine.memory, 0, 0, 1);
        if (pfn >= 0) frames.putPage(machine.memory, pfn);
      },
    },
    () => {
      machine.checkCounts();
      if (frames.freeFrames(machine.memory, 0) !== 2) throw new Error("LIMBO-1: a frame was lost");
    },
  );
}

describe("limbo", () => {
  mustHold("a page is merged under its reader", reads, BOUNDS);
  mustHold("the old frame is reused; an allocator drains too", reuses, NARROW);
  mustHold("a drain that began before the merge", earlyDrain, NARROW);
  mustHold("an allocator that finds no frame drains", forced, BOUNDS);
  mustHold("drains given up at once", givesUp, NARROW);
  mustHold("an allocator that finds frames in another's drain waits for it", inOthersHand, NARROW);
  mustHold("a list of two, and somebody who takes the first at once", twoFrames, BOUNDS);
});

const LIMBO = "mm/limbo";
const TAKE = "  const first = takeLimbo(memory, guest);\n  if (first === NONE) return 0;\n";
const BEGIN = "  const seq = beginShootdown(memory, guest, SHOOTDOWN_ALL);\n";

mustFail("limbo", NARROW, [
  mutant("no limbo: freed at once (3n)", reads, /PTE-1/, [
    LIMBO,
    "  pushList(memory, guest, pfn, pfn);\n",
    "  putPage(memory, pfn);\n",
  ]),
  mutant("released without a wait", reuses, /PTE-1/, [
    LIMBO,
    "if (awaitShootdown(memory, guest, SHOOTDOWN_ALL, seq, timeoutMs) === NONE) {",
    "if (seq !== NONE) {",
  ]),
  mutant("the list taken after the shootdown began (3o)", earlyDrain, /PTE-1/, [
    LIMBO,
    TAKE + BEGIN,
    BEGIN + TAKE,
  ]),
  mutant(
    "the list taken after the shootdown completed",
    earlyDrain,
    /PTE-1/,
    [LIMBO, TAKE, ""],
    [
      LIMBO,
      "    return releaseLimbo(memory, first);",
      "    return releaseLimbo(memory, takeLimbo(memory, guest));",
    ],
    [LIMBO, "  returnLimbo(memory, guest, first);\n", ""],
  ),
  mutant("given up, and the list lost", givesUp, /REF-1/, [
    LIMBO,
    "  returnLimbo(memory, guest, first);\n",
    "",
  ]),
  mutant("given up, and all but the first lost", givesUp, /REF-1/, [
    LIMBO,
    "  pushList(memory, guest, first, last);\n",
    "  pushList(memory, guest, first, first);\n",
  ]),
  mutant("pushed by load and store", givesUp, /REF-1/, [
    LIMBO,
    "if (casWord(memory.control, head, next, first + 1) === next) return;",
    "exchangeWord(memory.control, head, first + 1); return;",
  ]),
  mutant("taken by load and store", reuses, /REF-1|REF-2|LIMBO/, [
    LIMBO,
    "const first = exchangeWord(memory.control, head, 0) - 1;",
    lines(
      "const first = loadWord(memory.control, head) - 1;",
      "exchangeWord(memory.control, head, 0);",
    ),
  ]),
  mutant("the link read after the put", twoFrames, /LIMBO-1|REF-1/, [
    LIMBO,
    "    const next = linkWord(memory, pfn) - 1;\n    putPage(memory, pfn);\n",
    "    putPage(memory, pfn);\n    const next = linkWord(memory, pfn) - 1;\n",
  ]),
  mutant("no drain before no frame is reported", forced, /LIMBO-2/, [
    "mm/fault",
    "pfn === NONE && wait < DRAIN_WAITS",
    "pfn === NONE && wait < 0",
  ]),
  mutant("no wait for the drain of another", inOthersHand, /refused: PAGEFOLD_NO_FRAME/, [
    "mm/fault",
    "(drained === 0 && drains === 0)",
    "drained === 0",
  ]),
  mutant(
    "the drain counted after the list is taken",
    inOthersHand,
    /refused|REF|deadlock/,
    [LIMBO, "  addWord(memory.control, memory.layout.engine + ENGINE_DRAINS, 1);\n", ""],
    [
      LIMBO,
      "  if (first === NONE) endDrain(memory);\n",
      "  addWord(memory.control, memory.layout.engine + ENGINE_DRAINS, 1);\n  if (first === NONE) endDrain(memory);\n",
    ],
  ),
  mutant("sleepers are not woken when a drain ends", inOthersHand, /deadlock/, [
    LIMBO,
    "  notifyWord(memory.control, drains, Number.POSITIVE_INFINITY);\n",
    "",
  ]),
]);
