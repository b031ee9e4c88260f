/**
 * Question: do migrators that work at once - on two frames of one guest, towards one free frame, past each other -
 * and migrators beside a drain of limbo, or beside a clone that no sharer list names, lose a byte, a frame or a count?
 * Threads: two migrators, or one and a drain, and a vCPU. Two nodes of 2 or 4 frames. Bounds: 2 preemptions.
 */
import { describe } from "vitest";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import { TinyMachine, type TinyOptions } from "./machine.js";
import { Migrators, mustMove, type Watched } from "./migrator.js";
import { edit, lines, mustFail, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 2 };
const NODE = 1;
const TWO_ENTRIES = ["base/layout", "TLB_SHIFT = 0", "TLB_SHIFT = 1"] as const;

/** Guests live on nodes 0 and 1 by turns; frames of node 0 come first. */
class Crowded extends TinyMachine {
  readonly migrators = new Migrators(this);

  constructor(production: Production, options: TinyOptions = {}) {
    super(production, { framesShift: 2, nodes: 2, guests: [2], vcpus: [0], ...options });
  }

  /** Two migrators, each with a frame and a node to move it to. */
  migrating(first: readonly [number, number], second: readonly [number, number]) {
    return {
      migrator1: this.migrators.thread(3, first[1], first[0]),
      migrator2: this.migrators.thread(4, second[1], second[0]),
    };
  }
}

/** Two frames of one guest, by two migrators; its vCPU writes both pages in one section. */
function twoFrames(production: Production): Watched {
  const machine = new Crowded(production);
  const [first, second] = [0, 1].map((gfn) => machine.populate(0, gfn, [5, 6]));
  const threads = {
    writer: () => {
      const cpu = machine.vcpu(machine.view(0), 0, "writer");
      cpu.begin();
      for (const gfn of [0, 1]) cpu.store(gfn, 0, 11 + gfn);
      for (const gfn of [0, 1]) cpu.load(gfn, 0);
      cpu.end();
    },
    ...machine.migrating([first as number, 1], [second as number, 1]),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 2");
}

/** The node has one free frame, which both want. */
function oneTarget(production: Production): Watched {
  const machine = new Crowded(production, { framesShift: 1, guests: [2, 1] });
  const [first, second] = [0, 1].map((gfn) => machine.populate(0, gfn, [5, 6]));
  machine.populate(1, 0, [7, 8]);
  const threads = {
    reader: () => {
      const cpu = machine.vcpu(machine.view(0), 0, "reader");
      cpu.begin();
      for (const gfn of [0, 1, 0]) cpu.load(gfn, 0);
      cpu.end();
    },
    ...machine.migrating([first as number, 1], [second as number, 1]),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1, no_frame 1");
}

/** Two KSM frames, each mapped by both guests, move past each other. */
function pastEachOther(production: Production): Watched {
  const machine = new Crowded(production, { framesShift: 1, guests: [2, 2], vcpus: [0] });
  const frames = [0, 1].map((gfn) => {
    const pages = [
      [gfn, gfn],
      [1 - gfn, gfn],
    ] as const;
    return machine.share(pages, [5 + gfn, 6], NODE + gfn);
  });
  const threads = {
    writer: () => {
      const cpu = machine.vcpu(machine.view(0), 0, "writer");
      cpu.load(1, 0);
      cpu.store(0, 0, 11);
    },
    ...machine.migrating([frames[0] as number, 1], [frames[1] as number, 0]),
  };
  return machine.migrators.watch(
    machine.scenario(threads),
    "migrated 2",
    "migrated 1, pinned 1",
    "migrated 1, raced 1",
    "migrated 1, no_frame 1",
    "pinned 1, no_frame 1",
    "no_frame 1, raced 1",
  );
}

/** As many frames as there are pages in the end: none of them is refused one because a page that moves has two. */
function exact(production: Production): Watched {
  const machine = new Crowded(production, { framesShift: 1, guests: [1, 3], vcpus: [1] });
  const pfn = machine.populate(0, 0, [5, 6]);
  machine.populate(1, 0, [7, 8]);
  const threads = {
    writer: () => {
      const cpu = machine.vcpu(machine.view(0), 0, "writer");
      for (const gfn of [1, 2]) cpu.store(gfn, 0, 11 + gfn);
    },
    migrator: machine.migrators.thread(4, 1, pfn),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1", "no_frame 1");
}

/**
 * A page is merged while its frame is to be moved, and its vCPU reads on: the frame goes to limbo, and is freed when
 * limbo has been drained and the migrator lets go of it.
 */
function limbo(production: Production): Watched {
  const machine = new KsmMachine(production, {
    framesShift: 2,
    nodes: 2,
    guests: [1, 1, 1],
    vcpus: [2],
  });
  const migrators = new Migrators(machine);
  for (const guest of [0, 1]) machine.populate(guest, 0, [5, 6]);
  for (const _ of [1, 2]) machine.pass();
  const old = machine.populate(2, 0, [5, 6]);
  machine.pass();
  const threads = {
    reader: () => {
      const cpu = machine.vcpu(machine.view(0), 0, "reader");
      cpu.begin();
      for (const cell of [0, 1, 0]) cpu.load(0, cell);
      cpu.end();
    },
    ksmd: () => machine.pass(),
    migrator: () => {
      migrators.moveAway(machine.view(4), old);
    },
  };
  const scenario = machine.ksmScenario(threads);
  return migrators.watch(scenario, "migrated 1", "pinned 1", "raced 1");
}

/** Guest 2 is a clone of guest 1, and has no item: its pte is found by the family, and moves with the others. */
function clone(production: Production, writer: number | null): Watched {
  const machine = new Crowded(production, { guests: [1, 1, 1], vcpus: [writer ?? 0, 1] });
  const { guest, layout, pageRef } = production;
  const { memory } = machine;
  guest.joinFamily(memory, 2, 1);
  const pages = [
    [0, 0],
    [1, 0],
    [2, 0],
  ] as const;
  const pfn = machine.share(pages, [5, 6], NODE);
  production.rmap.unlinkSharer(memory, NODE, machine.slot(2, 0));
  if (layout.ptePfn(machine.pte(2, 0)) !== pfn || pageRef.mapcount(memory, pfn) !== 3) {
    throw new Error("three pages share a frame");
  }
  const threads = {
    ...(writer === null
      ? {}
      : { writer: () => machine.vcpu(machine.view(0), 0, "writer").store(0, 0, 11) }),
    reader: () => {
      const cpu = machine.vcpu(machine.view(1), 1, "reader");
      cpu.begin();
      for (const cell of [0, 1]) cpu.load(0, cell);
      cpu.end();
    },
    migrator: machine.migrators.thread(4, 1, pfn),
  };
  const scenario = machine.scenario(threads);
  const legal = writer === null ? [] : ["pinned 1", "raced 1"];
  return machine.migrators.watch(scenario, "migrated 1", ...legal);
}

describe("migrators in a crowd", () => {
  mustMove("two frames of one guest", twoFrames, BOUNDS, edit(...TWO_ENTRIES));
  mustMove("two frames, and room for one", oneTarget, BOUNDS, edit(...TWO_ENTRIES));
  mustMove("two KSM frames that move past each other", pastEachOther, BOUNDS);
  mustMove("as many frames as pages", exact, BOUNDS);
  mustMove("a frame that goes to limbo", limbo, BOUNDS);
  mustMove("a KSM frame with a clone that reads", (p) => clone(p, null), BOUNDS);
  mustMove("a KSM frame with a clone that writes", (p) => clone(p, 2), BOUNDS);
  mustMove("a KSM frame with a clone, whose parent writes", (p) => clone(p, 1), BOUNDS);
});

const MIGRATE = "migrate/migrate";

mustFail("migrators in a crowd", BOUNDS, [
  mutant("one number for two shootdowns", twoFrames, /PTE-1|deadlock/, TWO_ENTRIES, [
    "mm/shootdown",
    "  const seq = (addWord(memory.control, record + GUEST_SEQ, 1) + 1) | 0;\n",
    lines(
      "  const seq = (loadWord(memory.control, record + GUEST_SEQ) + 1) | 0;",
      "  storeWord(memory.control, record + GUEST_SEQ, seq);",
      "",
    ),
  ]),
  mutant(
    "a frame of the node taken by two",
    oneTarget,
    /REF-|PTE-/,
    TWO_ENTRIES,
    [
      "mm/frames",
      "if (casWord(words, freeBitmap + word, bits, bits & ~bit) !== bits) continue;",
      "storeWord(words, freeBitmap + word, bits & ~bit);",
    ],
    ["mm/frames", "  racyStore,\n}", "  racyStore,\n  storeWord,\n}"],
  ),
  mutant(
    "an allocator that does not wait for a page that moves",
    exact,
    /in use/,
    [MIGRATE, "  beginDrain(memory);\n", ""],
    [MIGRATE, "  endDrain(memory);\n", ""],
  ),
  mutant(
    "a page that moves said to have two frames too late",
    exact,
    /in use/,
    [MIGRATE, "  beginDrain(memory);\n", ""],
    [
      MIGRATE,
      "  shootDown(memory, batch);\n",
      "  beginDrain(memory);\n  shootDown(memory, batch);\n",
    ],
  ),
  mutant("a batch that is never said to be over", exact, /LIMBO-3/, [
    MIGRATE,
    "  endDrain(memory);\n",
    "",
  ]),
  mutant("an end that wakes no allocator", exact, /deadlock/, [
    "mm/limbo",
    "  notifyWord(memory.control, drains, Number.POSITIVE_INFINITY);\n",
    "",
  ]),
  mutant("a frame that left for limbo moved as if it were mapped", limbo, /OUTCOME|REF-/, [
    MIGRATE,
    "  if (begin === end) return MIGRATE_RACED;\n",
    "  if (begin === end) return freezePage(memory, old, 2) ? MIGRATED : MIGRATE_RACED;\n",
  ]),
  mutant("the guest of a sharer alone, not its family (H79)", (p) => clone(p, null), /OUTCOME/, [
    "mm/rmap",
    "for (let guest = family; guest !== NONE; guest = nextInFamily(memory, guest)) {",
    "for (let guest = family; guest === family; guest = NONE) {",
  ]),
]);
