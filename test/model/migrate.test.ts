/**
 * Question: does a frame that moves keep every byte and every flag, and is its old frame free of anybody when
 * it is freed, whatever vCPUs and devices do to its pages; and does a frame that was not moved
 * stay as it was, word for word?
 * Threads: a migrator, and one or two of vCPU, device, holder of the page lock. Two nodes of 1 to 4
 * frames. Bounds: 3 preemptions for two threads, 2 for three.
 */
import { describe } from "vitest";
import { Device } from "./device.js";
import type { Production } from "./loader.js";
import { mustMove, type Watched } from "./migrator.js";
import { BOTH, Moving, NODE, sharing } from "./moving.js";
import { edit, lines, mustFail, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };
const TWO_ENTRIES = ["base/layout", "TLB_SHIFT = 0", "TLB_SHIFT = 1"] as const;

/** A private page, written meanwhile. */
function written(production: Production, dirty = true): Watched {
  const machine = new Moving(production);
  const pfn = machine.populate(0, 0, [5, 6]);
  if (!dirty) machine.quiet(0, 0);
  const threads = { writer0: machine.writer(0), migrator: machine.migrators.thread(1, 1, pfn) };
  const legal = dirty ? ["migrated 1"] : ["migrated 1", "raced 1"];
  return machine.migrators.watch(machine.scenario(threads), ...legal);
}

/** A private page, read through translations made before and after. */
function read(production: Production): Watched {
  const machine = new Moving(production);
  const pfn = machine.populate(0, 0, [5, 6]);
  const threads = { reader0: machine.reader(0), migrator: machine.migrators.thread(1, 1, pfn) };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1");
}

/** A KSM frame: both guests read. */
function sharedRead(production: Production): Watched {
  const machine = sharing(production);
  const threads = {
    reader0: machine.reader(0),
    reader1: machine.reader(1),
    migrator: machine.migrators.thread(2, 1, machine.pfn),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1");
}

/** A KSM frame: one guest copies it, the other reads. */
function copied(production: Production): Watched {
  const machine = sharing(production);
  const threads = {
    writer0: machine.writer(0),
    reader1: machine.reader(1),
    migrator: machine.migrators.thread(2, 1, machine.pfn),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1", "pinned 1", "raced 1");
}

/** A KSM frame of one page: its guest copies it, so that it is freed if it stays. */
function left(production: Production): Watched {
  const machine = new Moving(production);
  const pfn = machine.share([[0, 0]], [5, 6], NODE);
  const threads = { writer0: machine.writer(0), migrator: machine.migrators.thread(1, 1, pfn) };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1", "pinned 1", "raced 1");
}

/** A frame that a fork left to two guests: one copies it, the other reads. */
function cloned(production: Production): Watched {
  const machine = new Moving(production, { guests: [1, 1], vcpus: [0, 1] });
  production.guest.joinFamily(machine.memory, 1, 0);
  const pfn = machine.share(BOTH, [5, 6], -1);
  const threads = {
    writer0: machine.writer(0),
    reader1: machine.reader(1),
    migrator: machine.migrators.thread(2, 1, pfn),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1", "pinned 1", "raced 1");
}

/** One frame at two pages of a guest: it must forget both. */
function twice(production: Production): Watched {
  const machine = new Moving(production, { guests: [2] });
  const pages = [
    [0, 0],
    [0, 1],
  ] as const;
  const pfn = machine.share(pages, [5, 6], NODE);
  const threads = {
    reader0: () => {
      const cpu = machine.vcpu(machine.view(0), 0, "reader0");
      for (let section = 0; section < 2; section++) {
        cpu.begin();
        for (const gfn of [0, 1]) cpu.load(gfn, 0);
        cpu.end();
      }
    },
    migrator: machine.migrators.thread(1, 1, pfn),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1");
}

/** The page of guest 1 goes to the other node and comes back: the frames between are known by their owner. */
function thereAndBack(production: Production): Watched {
  const machine = new Moving(production, { guests: [1, 2], vcpus: [1] });
  const { layout, pte } = production;
  const pfn = machine.populate(1, 1, [5, 6]);
  const threads = {
    reader0: machine.reader(0, 1),
    migrator: () => {
      const memory = machine.view(1);
      machine.migrators.moveAway(memory, pfn);
      machine.migrators.moveAway(memory, layout.ptePfn(pte.readPte(memory, machine.slot(1, 1))));
    },
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 2");
}

/** Another guest takes the old frame as soon as it is free, or the one that it would move to. */
function reused(production: Production): Watched {
  const machine = new Moving(production, { framesShift: 0, guests: [1, 0, 1], vcpus: [0, 2] });
  const pfn = machine.populate(0, 0, [5, 6]);
  const threads = {
    other: () => {
      const cpu = machine.vcpu(machine.view(1), 1, "other");
      cpu.tryStore(0, 0, 31);
      cpu.tryStore(0, 1, 32);
    },
    migrator: machine.migrators.thread(2, 1, pfn),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1", "no_frame 1");
}

/** A device pins the page, writes in place as seed 004 has it, and unpins (H44). */
function device(production: Production, dirty: boolean): Watched {
  const machine = new Moving(production);
  const pfn = machine.populate(0, 0, [5, 6]);
  if (!dirty) machine.quiet(0, 0);
  const threads = {
    device: () => {
      const disk = new Device(machine, machine.view(0), 0);
      transfer(disk, disk.pin(0));
    },
    migrator: machine.migrators.thread(1, 1, pfn),
  };
  const legal = dirty ? [] : ["raced 1"];
  const scenario = machine.scenario(threads);
  return machine.migrators.watch(scenario, "migrated 1", "pinned 1", ...legal);
}

function transfer(disk: Device, pfn: number): void {
  disk.store(pfn, 0, 0, 21);
  disk.load(pfn, 0, 1);
  disk.store(pfn, 0, 1, 22);
  disk.unpin(0, pfn);
}

/** Pinned before; the device writes and unpins while a vCPU reads what it wrote. */
function unpinned(production: Production): Watched {
  const machine = new Moving(production);
  const old = machine.populate(0, 0, [5, 6]);
  const pfn = new Device(machine, machine.memory, 0).pin(0);
  const threads = {
    device: () => transfer(new Device(machine, machine.view(1), 0), pfn),
    reader0: machine.reader(0),
    migrator: machine.migrators.thread(2, 1, old),
  };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1", "pinned 1");
}

/** A batch of two frames, of which one is pinned. */
function batch(production: Production): Watched {
  const machine = new Moving(production, { guests: [2] });
  const pfns = [machine.populate(0, 0, [5, 6]), machine.populate(0, 1, [7, 8])];
  new Device(machine, machine.memory, 0).pin(1);
  const pinned = pfns[1] as number;
  const threads = {
    reader0: machine.reader(0),
    migrator: machine.migrators.thread(1, 1, ...pfns),
  };
  const scenario = machine.scenario(threads, () => machine.checkCounts(new Map([[pinned, 1]])));
  return machine.migrators.watch(scenario, "migrated 1, pinned 1");
}

describe("migrate", () => {
  mustMove("a private page that is written", (p) => written(p), BOUNDS);
  mustMove("a private page, D clear at first, that is written", (p) => written(p, false), BOUNDS);
  mustMove("a private page that is read", read, BOUNDS);
  mustMove("a KSM frame that both guests read", sharedRead, NARROW);
  mustMove("a KSM frame that one guest copies and the other reads", copied, NARROW);
  mustMove("a KSM frame that its last guest copies", left, BOUNDS);
  mustMove("a frame of two clones", cloned, NARROW);
  mustMove("a frame at two pages of a guest", twice, BOUNDS, edit(...TWO_ENTRIES));
  mustMove("a page that moves there and back", thereAndBack, BOUNDS);
  mustMove("a frame that is reused at once", reused, BOUNDS);
  mustMove("a page that a device writes", (p) => device(p, true), BOUNDS);
  mustMove("a page, D clear at first, that a device writes", (p) => device(p, false), BOUNDS);
  mustMove("a page that a device writes and unpins", unpinned, NARROW);
  mustMove("a batch of two frames, one of them pinned", batch, BOUNDS);
});

const MIGRATE = "migrate/migrate";
const BATCH = "migrate/batch";
const FREEZE = "return freezePage(memory, old, 1) ? MIGRATED : MIGRATE_PINNED;";
const COPY = "  for (let i = 0; i < batch.count; i++) copy(memory, batch, i);\n";
const WITH_COUNT = [
  MIGRATE,
  "  mapcount,\n  REF_FROZEN,",
  "  mapcount,\n  pageRef,\n  REF_FROZEN,",
] as const;
const COUNTS = "    getPage(memory, pfn);\n    addMapping(memory, pfn);\n";
const INSTALL = "    finishEntry(memory, batch.slots[place] as number, makePte(pfn, flags));\n";

// Not to be caught: a place's reference taken after its install (ours stands in for one), the target not locked
// (our reference keeps other migrators from freezing it), the old frame freed before it is unlocked (whoever
// tries its lock meanwhile is told that it is busy), and its mapping word not cleared (freeFrame clears it).
mustFail("migrate", NARROW, [
  mutant(
    "the references taken after the last install",
    sharedRead,
    /REF-1/,
    [MIGRATE, COUNTS, "    addMapping(memory, pfn);\n"],
    [
      MIGRATE,
      `${INSTALL}  }\n`,
      lines(
        `${INSTALL}  }`,
        "  for (let place = firstPlace(batch, i); place < end; place++) getPage(memory, pfn);",
        "",
      ),
    ],
  ),
  mutant("no shootdown", read, /PTE-1/, [MIGRATE, "  shootDown(memory, batch);\n", ""]),
  mutant(
    "the shootdown begun before the ptes change",
    read,
    /PTE-1/,
    [
      MIGRATE,
      "    if (casPte(memory, slot, pte, entryFor(pte))) {\n",
      lines(
        "    batch.sequences[guest] = beginShootdown(memory, guest, slot - guestBase(memory, guest));",
        "    if (casPte(memory, slot, pte, entryFor(pte))) {",
        "",
      ),
    ],
    [
      MIGRATE,
      "    sequences[guest] = beginShootdown(memory, guest, pages[guest] as number);\n",
      "",
    ],
  ),
  mutant("only the first guest waited for", sharedRead, /PTE-1/, [
    MIGRATE,
    "scanMs) !== NONE) stuck[guest] = 1;",
    "scanMs) !== NONE) stuck[guest] = 1;\n    break;",
  ]),
  mutant("a guest that forgets one of its two pages", twice, /PTE-1/, TWO_ENTRIES, [
    BATCH,
    "page === NONE || page === gfn ? gfn : SHOOTDOWN_ALL;",
    "gfn;",
  ]),
  mutant("frozen with a pin", unpinned, /REF-|PIN-|PTE-/, [
    MIGRATE,
    FREEZE,
    FREEZE.replace("1)", "1) || freezePage(memory, old, 2)"),
  ]),
  mutant("frozen at one reference more", read, /OUTCOME: pinned/, [
    MIGRATE,
    FREEZE,
    FREEZE.replace("1)", "2)"),
  ]),
  mutant(
    "copied before the shootdown",
    written,
    /PTE-1/,
    [
      MIGRATE,
      "i++) unmap(memory, batch, i);",
      lines(
        "i++) {",
        "    unmap(memory, batch, i);",
        "    memory.kernels.copyPage(batch.targets[i] as Pfn, batch.olds[i] as Pfn);",
        "  }",
      ),
    ],
    [MIGRATE, COPY, ""],
  ),
  mutant(
    "copied before the ptes are entries (H91)",
    written,
    /PTE-1/,
    [
      MIGRATE,
      "i++) unmap(memory, batch, i);",
      lines(
        "i++) {",
        "    memory.kernels.copyPage(batch.targets[i] as Pfn, batch.olds[i] as Pfn);",
        "    unmap(memory, batch, i);",
        "  }",
      ),
    ],
    [MIGRATE, COPY, ""],
  ),
  mutant(
    "the mapcount taken after the install",
    read,
    /REF-4/,
    [MIGRATE, COUNTS, "    getPage(memory, pfn);\n"],
    [MIGRATE, INSTALL, `${INSTALL}    addMapping(memory, pfn);\n`],
  ),
  mutant("W lost", read, /MIGRATE-1/, [MIGRATE, "& PTE_FLAGS_MASK;", "& PTE_FLAGS_MASK & ~4;"]),
  mutant("D lost", read, /MIGRATE-1/, [MIGRATE, "& PTE_FLAGS_MASK;", "& PTE_FLAGS_MASK & ~8;"]),
  mutant("M lost", sharedRead, /MIGRATE-1|PTE-5/, [
    MIGRATE,
    "& PTE_FLAGS_MASK;",
    "& PTE_FLAGS_MASK & ~16;",
  ]),
  mutant("freed before it is thawed", reused, /REF-|FREE-/, [
    MIGRATE,
    "    unfreezePage(memory, old, 0);\n    freeFrame(memory, old);\n",
    "    freeFrame(memory, old);\n    unfreezePage(memory, old, 0);\n",
  ]),
  mutant("the old frame kept", read, /REF-|MAP-|FREE-/, [
    MIGRATE,
    "    freeFrame(memory, old);\n",
    "",
  ]),
  mutant("the target's first reference kept", read, /REF-1/, [
    MIGRATE,
    "  putPage(memory, target);\n  unlockPage(memory, old);\n",
    "  unlockPage(memory, old);\n",
  ]),
  mutant(
    "the entry stored, not compared and swapped (H87)",
    copied,
    /PTE-|REF-/,
    [
      MIGRATE,
      "import { trylockPage",
      'import { exchangeWord } from "../base/atomics.js";\nimport { trylockPage',
    ],
    [
      MIGRATE,
      "if (casPte(memory, slot, pte, entryFor(pte))) {",
      "if (exchangeWord(memory.control, memory.layout.ptes + slot, entryFor(pte)) !== 0) {",
    ],
  ),
  mutant(
    "a pte that was written meanwhile taken as it was read",
    (p) => written(p, false),
    /MIGRATE-1|PTE-|REF-/,
    [
      MIGRATE,
      "import { trylockPage",
      'import { exchangeWord } from "../base/atomics.js";\nimport { trylockPage',
    ],
    [
      MIGRATE,
      "if (casPte(memory, slot, pte, entryFor(pte))) {",
      "if (exchangeWord(memory.control, memory.layout.ptes + slot, entryFor(pte)) !== 0) {",
    ],
  ),
  mutant("sleepers not woken (H88)", written, /deadlock/, [
    "mm/pte",
    "  notifyWord(memory.control, index, Number.POSITIVE_INFINITY);\n",
    "",
  ]),
  mutant("the new frame not at the page's gfn", thereAndBack, /OUTCOME: migrated 1, raced 1/, [
    MIGRATE,
    "mappingId(mapping), frameIndex(memory, old))",
    "mappingId(mapping), 0)",
  ]),
  mutant("the new frame of another family", thereAndBack, /OUTCOME: migrated 1, raced 1/, [
    MIGRATE,
    "nid, mappingId(mapping), frameIndex(memory, old))",
    "nid, 0, frameIndex(memory, old))",
  ]),
  mutant("a batch that gives the places of one frame to the next", batch, /PTE-|REF-/, [
    BATCH,
    "return i === 0 ? 0 : (batch.placeEnds[i - 1] as number);",
    "return i < 0 ? 1 : 0;",
  ]),
]);

// Three switches: before the pin takes its reference, before the freeze, and before the pin gives it back.
mustFail("migrate", BOUNDS, [
  mutant("the count looked at, not frozen (H44)", (p) => device(p, true), /REF-1/, WITH_COUNT, [
    MIGRATE,
    FREEZE,
    "return pageRef(memory, old) === 1 ? MIGRATED : MIGRATE_PINNED;",
  ]),
]);
