/**
 * Question: when a shootdown has completed, does any vCPU still use a translation made before; does every
 * initiator wake; and is a page whose D is clear never written?
 * Threads: one or two vCPUs of a guest (one page, or two) against a sibling that copies on write, a
 * migrator, ksmd's harvest, another initiator, a vCPU that joins or dies. Frames: 4. Bounds: 3 preemptions for
 * two threads, 2 for three.
 */
import { describe } from "vitest";
import type { Scenario } from "./explorer.js";
import type { Production } from "./loader.js";
import { TinyMachine } from "./machine.js";
import { Migrators } from "./migrator.js";
import { type Build, edit, lines, mustFail, mustHold, mutant } from "./mutants.js";
import * as seam from "./seam.js";
import { TinyKsmd } from "./tiny-ksmd.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };
/** Page 0 of guests 0 and 1. */
const BOTH = [
  [0, 0],
  [1, 0],
] as const;

/** A vCPU writes a page that it shares with another guest: the copy must not be seen before all have forgotten. */
function sibling(production: Production, seq = 0): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, guests: [1, 1], vcpus: [0, 0] });
  const { guest, layout } = production;
  machine.memory.control[guest.guestWord(machine.memory, 0) + layout.GUEST_SEQ] = seq;
  machine.share(BOTH, [5, 6], 1);
  return machine.scenario({
    writer: () => {
      const cpu = machine.vcpu(machine.view(1), 1, "writer");
      cpu.begin();
      cpu.store(0, 0, 11);
      cpu.load(0, 1);
      cpu.end();
    },
    reader: () => {
      const cpu = machine.vcpu(machine.view(2), 0, "reader");
      cpu.begin();
      cpu.load(0, 0);
      cpu.end();
      cpu.begin();
      cpu.load(0, 0);
      cpu.end();
    },
  });
}

/** Two writers and a reader: what one wrote to the new frame, the other must not miss in the old (3l). */
function threeVcpus(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, guests: [1, 1], vcpus: [0, 0, 0] });
  machine.share(BOTH, [5, 6], 1);
  const writer = (vcpu: number, name: string) => () =>
    machine.vcpu(machine.view(vcpu), vcpu, name).store(0, vcpu, 11 + vcpu);
  return machine.scenario({
    writer0: writer(0, "writer0"),
    writer1: writer(1, "writer1"),
    reader: () => {
      const cpu = machine.vcpu(machine.view(2), 2, "reader");
      cpu.begin();
      cpu.load(0, 0);
      cpu.load(0, 0);
      cpu.end();
    },
  });
}

/** A page's only frame moves away under a vCPU that reads and writes it; the old frame is free at once. */
function mover(production: Production, dirty = true): Scenario {
  const machine = new TinyMachine(production, { framesShift: 1, nodes: 2, vcpus: [0] });
  const old = machine.populate(0, 0, [5, 6]);
  if (!dirty) machine.quiet(0, 0);
  return machine.scenario({
    vcpu: () => {
      const cpu = machine.vcpu(machine.view(1), 0, "vcpu");
      cpu.begin();
      cpu.store(0, 0, 11);
      cpu.end();
      cpu.begin();
      cpu.load(0, 0);
      cpu.store(0, 1, 12);
      cpu.end();
    },
    migrator: new Migrators(machine).thread(2, 1, old),
  });
}

/** A harvest clears D while a vCPU writes: a hash taken with D clear stays exact as long as D is. */
function harvest(production: Production, scanMs = 1): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, vcpus: [0], scanMs });
  machine.populate(0, 0, [5, 6]);
  return machine.scenario({
    vcpu: () => {
      const cpu = machine.vcpu(machine.view(1), 0, "vcpu");
      cpu.begin();
      cpu.store(0, 0, 11);
      cpu.store(0, 1, 12);
      cpu.end();
      cpu.begin();
      cpu.store(0, 0, 13);
      cpu.end();
    },
    ksmd: () => {
      const ksmd = new TinyKsmd(machine, machine.view(2));
      const quiet = ksmd.harvest(0, 0);
      const hash = quiet ? ksmd.hash(0, 0) : null;
      if (hash !== null) for (let look = 0; look < 3; look++) ksmd.expectExact(0, 0, hash);
    },
  });
}

/** One shootdown of the page, by a thread that does nothing else; returns whether it completed. */
function shootDown(machine: TinyMachine, thread: number, gfn: number): boolean {
  const { shootdown } = machine.production;
  const memory = machine.view(thread);
  const seq = shootdown.beginShootdown(memory, 0, gfn);
  return shootdown.awaitShootdown(memory, 0, gfn, seq, memory.patience.scanMs) < 0;
}

/** Two initiators and two vCPUs that come and go: all wake. */
function initiators(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, vcpus: [0] });
  machine.populate(0, 0, [5, 6]);
  const vcpu = () => {
    const cpu = machine.vcpu(machine.view(0), 0, "vcpu");
    for (let round = 0; round < 2; round++) {
      cpu.begin();
      cpu.load(0, 0);
      cpu.end();
    }
  };
  const threads = {
    vcpu,
    first: () => void shootDown(machine, 2, 0),
    second: () => void shootDown(machine, 3, 0),
  };
  return machine.scenario(threads);
}

/** The vCPU acknowledges by a safepoint, or by a miss, and does not leave until the initiator has gone on. */
function stays(production: Production, miss: boolean): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, vcpus: [0] });
  machine.populate(0, 0, [5, 6]);
  const { control, layout } = machine.memory;
  const stage = layout.knobs;
  const reach = (now: number) => {
    seam.storeWord(control, stage, now);
    seam.notifyWord(control, stage, 1);
  };
  const waitFor = (wanted: number) => {
    for (let now = 0; now < wanted; now = seam.loadWord(control, stage)) {
      seam.waitWord(control, stage, now, 1);
    }
  };
  return machine.scenario({
    vcpu: () => {
      const cpu = machine.vcpu(machine.view(1), 0, "vcpu");
      cpu.begin();
      waitFor(1);
      if (miss) cpu.load(0, 0);
      else cpu.poll();
      waitFor(2);
      cpu.end();
    },
    initiator: () => {
      const memory = machine.view(2);
      const { shootdown } = production;
      const seq = shootdown.beginShootdown(memory, 0, 0);
      reach(1);
      shootdown.awaitShootdown(memory, 0, 0, seq, 1);
      reach(2);
    },
  });
}

/** A TLB of two entries: what the ring says to drop is what must be dropped. */
function ring(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, guests: [2, 2], vcpus: [0, 0] });
  machine.populate(0, 0, [1, 2]);
  machine.share(
    BOTH.map(([guest]) => [guest, 1] as const),
    [5, 6],
    1,
  );
  return machine.scenario({
    writer: () => {
      const cpu = machine.vcpu(machine.view(1), 0, "writer");
      cpu.store(1, 0, 11);
    },
    reader: () => {
      const cpu = machine.vcpu(machine.view(2), 1, "reader");
      cpu.begin();
      cpu.load(1, 0);
      cpu.poll();
      cpu.load(1, 0);
      cpu.end();
    },
  });
}
const TWO_ENTRIES = ["base/layout", "TLB_SHIFT = 0", "TLB_SHIFT = 1"] as const;

/** A thread takes over the vCPU of another, or opens a new one, while a sibling copies on write. */
function joins(production: Production, adopt: boolean): Scenario {
  const machine = new TinyMachine(production, {
    framesShift: 2,
    guests: [1, 1],
    vcpus: adopt ? [0, 0] : [0],
    spareVcpus: 1,
  });
  machine.share(BOTH, [5, 6], 1);
  const { shootdown, vcpu } = production;
  if (adopt) {
    const last = machine.vcpu(machine.view(5), 1, "last");
    last.begin();
    last.load(0, 0);
    last.end();
    shootdown.disownVcpu(machine.memory, 1);
  }
  return machine.scenario({
    writer: () => machine.vcpu(machine.view(1), 0, "writer").store(0, 0, 11),
    joiner: () => {
      const memory = machine.view(2);
      const cpu = machine.vcpu(memory, vcpu.openVcpu(memory, 0), "joiner");
      cpu.begin();
      cpu.load(0, 0);
      cpu.load(0, 0);
      cpu.end();
    },
  });
}

/** A thread dies inside a section, and is found to be dead while somebody waits for its vCPU. */
function dies(production: Production): Scenario {
  const machine = new TinyMachine(production, { framesShift: 2, vcpus: [0] });
  return machine.scenario({
    dead: () => {
      const memory = machine.view(2);
      machine.vcpu(memory, 0, "dead").begin();
      production.shootdown.disownVcpu(memory, 0);
    },
    first: () => void shootDown(machine, 3, 0),
    second: () => void shootDown(machine, 4, 0),
  });
}

const wraps: Build = (production) => sibling(production, 0x3fffffff);

describe("shootdown", () => {
  mustHold("a sibling copies on write: nobody reads the old frame after", sibling, BOUNDS);
  mustHold("two writers and a reader", threeVcpus, NARROW);
  mustHold("a frame moves away under its reader and writer", (p) => mover(p), BOUNDS);
  mustHold("the same, D clear at first", (p) => mover(p, false), BOUNDS);
  mustHold("a harvest: D clear means not written since", harvest, BOUNDS);
  mustHold("a harvest that gives up", (production) => harvest(production, 0), BOUNDS);
  mustHold("two initiators, one vCPU that comes and goes", initiators, BOUNDS);
  mustHold("a vCPU that stays inside after a safepoint", (p) => stays(p, false), BOUNDS);
  mustHold("a vCPU that stays inside after a miss", (p) => stays(p, true), BOUNDS);
  mustHold("the ring drops what it must", ring, BOUNDS, edit(...TWO_ENTRIES));
  mustHold("a vCPU that joins", (production) => joins(production, false), BOUNDS);
  mustHold("a vCPU that is adopted", (production) => joins(production, true), BOUNDS);
  mustHold("a vCPU whose thread died inside", dies, BOUNDS);
  mustHold("numbers that wrap", wraps, BOUNDS);
});

const SHOOTDOWN = "mm/shootdown";

mustFail("shootdown", BOUNDS, [
  mutant("enter that loads the sequence before it is inside (H45)", mover, /PTE-1/, [
    SHOOTDOWN,
    "  storeWord(memory.control, state, vcpuInside(from));\n  return catchUp(memory, vcpu, from);",
    lines(
      "  const early = shootdownSeq(memory, guest);",
      "  storeWord(memory.control, state, vcpuInside(from));",
      "  return early === from ? from : catchUp(memory, vcpu, from);",
    ),
  ]),
  mutant("enter that does not look at the sequence", mover, /PTE-1/, [
    SHOOTDOWN,
    "return catchUp(memory, vcpu, from);",
    "return from;",
  ]),
  mutant("nobody notified at the exit", initiators, /deadlock/, [
    SHOOTDOWN,
    "vcpuOutside(ack));\n  notifySleepers(memory, vcpu);",
    "vcpuOutside(ack));",
  ]),
  mutant("sleepers looked for before the exit", initiators, /deadlock/, [
    SHOOTDOWN,
    lines(
      "  storeWord(memory.control, vcpuWord(memory, vcpu) + VCPU_STATE, vcpuOutside(ack));",
      "  notifySleepers(memory, vcpu);",
    ),
    lines(
      "  notifySleepers(memory, vcpu);",
      "  storeWord(memory.control, vcpuWord(memory, vcpu) + VCPU_STATE, vcpuOutside(ack));",
    ),
  ]),
  mutant("nobody notified at a safepoint", (p) => stays(p, false), /deadlock/, [
    SHOOTDOWN,
    "vcpuInside(seq));\n  notifySleepers(memory, vcpu);\n  // Whoever",
    "vcpuInside(seq));\n  // Whoever",
  ]),
  mutant(
    "a flag instead of a count of sleepers",
    initiators,
    /deadlock/,
    [
      SHOOTDOWN,
      "if (loadWord(memory.control, record + VCPU_SLEEPERS) === 0) return;",
      "if (casWord(memory.control, record + VCPU_SLEEPERS, 1, 0) === 0) return;",
    ],
    [
      SHOOTDOWN,
      "addWord(control, record + VCPU_SLEEPERS, 1);",
      "storeWord(control, record + VCPU_SLEEPERS, 1);",
    ],
    [
      SHOOTDOWN,
      "addWord(control, record + VCPU_SLEEPERS, -1);",
      "storeWord(control, record + VCPU_SLEEPERS, 0);",
    ],
  ),
  mutant("sleepers that do not count themselves", initiators, /deadlock/, [
    SHOOTDOWN,
    "addWord(control, record + VCPU_SLEEPERS, 1);",
    "addWord(control, record + VCPU_SLEEPERS, 0);",
  ]),
  mutant("sleepers left counted", initiators, /SHOOT-3/, [
    SHOOTDOWN,
    "addWord(control, record + VCPU_SLEEPERS, -1);",
    "",
  ]),
  mutant("a safepoint between the pte and the fill (TLB-2)", mover, /PTE-1/, [
    "mm/tlb",
    "    const pte = readPte(memory, slot);\n",
    "    const pte = readPte(memory, slot);\n    tlb.ack = catchUp(memory, tlb.vcpu, tlb.ack);\n",
  ]),
  mutant("a fill that does not look at the sequence", (p) => stays(p, true), /deadlock/, [
    "mm/tlb",
    "  const seen = catchUp(memory, tlb.vcpu, tlb.ack);",
    "  const seen = tlb.ack;",
  ]),
  mutant("a fill that acknowledges and goes on", mover, /PTE-1/, [
    "mm/tlb",
    "  tlb.ack = seen;\n  return false;",
    "  tlb.ack = seen;\n  return true;",
  ]),
  mutant("a write translation without D", harvest, /PTE-1/, [
    "mm/tlb",
    "const dirty = pte | PTE_DIRTY;",
    "const dirty = pte;",
  ]),
  mutant("D set by a store", (p) => mover(p, false), /PTE-|REF-/, [
    "mm/tlb",
    "!casPte(memory, slot, pte, dirty)) continue;",
    "racyStore(memory.control, memory.layout.ptes + slot, dirty) === null) continue;",
  ]),
  mutant(
    "begun before the pte changed",
    sibling,
    /PTE-1/,
    [
      "mm/fault",
      "  if (!casPte(memory, slot, pte, entryFor(pte))) {",
      lines(
        "  const gfn = slot - guestBase(memory, guest);",
        "  const seq = beginShootdown(memory, guest, gfn);",
        "  if (!casPte(memory, slot, pte, entryFor(pte))) {",
      ),
    ],
    [
      "mm/fault",
      lines(
        "  const gfn = slot - guestBase(memory, guest);",
        "  const seq = beginShootdown(memory, guest, gfn);",
        "  if (awaitShootdown",
      ),
      "  if (awaitShootdown",
    ],
  ),
  mutant("wiped, not waited for", mover, /PTE-1/, [
    SHOOTDOWN,
    "&& !sleepOnVcpu(memory, record, seq, timeoutMs)) return vcpu;",
    "&& timeoutMs < 0) return vcpu;",
  ]),
  mutant("a vCPU inside taken for one that has seen it", harvest, /PTE-1/, [
    SHOOTDOWN,
    "(state & VCPU_IN) === 0 || vcpuHasSeen(state, seq);\n}",
    "true;\n}",
  ]),
  mutant("only the first vCPU waited for", sibling, /PTE-1/, [
    SHOOTDOWN,
    "    if (hasSeen(memory, record, seq)) continue;\n",
    "    if (hasSeen(memory, record, seq)) return NONE;\n",
  ]),
  mutant("numbers compared without the wrap", wraps, /PTE-1/, [
    "base/layout",
    "return (((state & ~VCPU_IN) - (seq << 1)) | 0) >= 0;",
    "return (state & ~VCPU_IN) >= seq << 1;",
  ]),
  mutant("a ring entry not checked for its number", ring, /PTE-1/, TWO_ENTRIES, [
    SHOOTDOWN,
    "shootdownEntryIsFor(entry, number) ? shootdownEntryGfn(entry) : SHOOTDOWN_ALL;",
    "shootdownEntryIsFor(entry, number) ? shootdownEntryGfn(entry) : 0;",
  ]),
  mutant(
    "the ring read from the number acknowledged, not the next",
    ring,
    /PTE-1/,
    TWO_ENTRIES,
    [SHOOTDOWN, "let number = (ack + 1) | 0; ;", "let number = ack; ;"],
    [SHOOTDOWN, "if (gfn === SHOOTDOWN_ALL || number === seq) return seq;", "return seq;"],
  ),
  mutant(
    "an adopted vCPU with the translations of its last owner",
    (p) => joins(p, true),
    /TLB-1/,
    ["mm/vcpu", "    emptyTlb(memory, adopted);\n", ""],
  ),
  mutant("a thread that waits inside guest mode (SHOOT-2)", sibling, /SHOOT-2|PTE-4|deadlock/, [
    "mm/tlb",
    "    leaveGuestModeAll(memory);\n    const outcome = resolve",
    "    const outcome = resolve",
  ]),
  mutant("a dead thread's vCPU that stays inside", dies, /deadlock/, [
    SHOOTDOWN,
    "state & ~VCPU_IN);\n  notifySleepers",
    "state);\n  notifySleepers",
  ]),
]);
