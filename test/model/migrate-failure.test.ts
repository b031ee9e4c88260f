/**
 * Question: is a frame that cannot be moved left as it was, word for word (MIGRATE-2, H89), with the reason told
 * that holds, and do vCPUs that met its entries go on?
 * Threads: a migrator, and a vCPU or none. Two nodes of 1 or 2 frames. Bounds: 3 preemptions.
 */
import { describe } from "vitest";
import { Device } from "./device.js";
import type { Production } from "./loader.js";
import { ghost, TinyMachine, type TinyOptions } from "./machine.js";
import { Migrators, mustMove, Traces, type Watched } from "./migrator.js";
import { mustFail, mutant } from "./mutants.js";
import { TinyKsmd } from "./tiny-ksmd.js";

const BOUNDS = { preemptions: 3 };
const NODE = 1;
/** Page 0 of guests 0 and 1. */
const BOTH = [
  [0, 0],
  [1, 0],
] as const;

/** Page 0 of guests 0 and 1: in KSM frame 0, or each in a frame of its own. Frame 0 shall move to node 1. */
class Failing extends TinyMachine {
  readonly migrators = new Migrators(this);

  constructor(production: Production, merged: boolean, options: TinyOptions = {}) {
    super(production, { framesShift: 1, nodes: 2, guests: [1, 1], vcpus: [0, 1], ...options });
    if (merged) this.share(BOTH, [5, 6], NODE);
    else for (const [guest, gfn] of BOTH) this.populate(guest, gfn, [5, 6]);
  }

  reader = () => {
    const cpu = this.vcpu(this.view(3), 0, "reader");
    cpu.begin();
    cpu.load(0, 0);
    cpu.load(0, 1);
    cpu.load(0, 0);
    cpu.end();
  };

  /** Moves that fail, and leave no trace; `end` then takes away what was in the way. */
  fails(reason: string, end: () => void = () => {}, pfns: readonly number[] = [0]): Watched {
    const traces = new Traces(this);
    const threads = {
      reader: this.reader,
      migrator: () => {
        const memory = this.view(2);
        for (const pfn of pfns) this.migrators.move(memory, 1, pfn);
        ghost(() => traces.expectNone());
        end();
      },
    };
    return this.migrators.watch(this.scenario(threads), reason);
  }
}

/** Every frame of the node is in use. */
function noFrame(production: Production, merged: boolean): Watched {
  const machine = new Failing(production, merged, { guests: [1, 3] });
  for (const gfn of [1, 2]) machine.populate(1, gfn, [7, 8]);
  return machine.fails("no_frame 1");
}

/** Somebody has the page lock. */
function locked(production: Production, merged: boolean): Watched {
  const machine = new Failing(production, merged);
  const { pageLock } = production;
  pageLock.trylockPage(machine.view(4), 0);
  return machine.fails("busy 1", () => pageLock.unlockPage(machine.view(4), 0));
}

/** Another migrator has the frame, frozen; its page is an entry. */
function frozen(production: Production): Watched {
  const machine = new Failing(production, false);
  const { pageRef, pte: ptes } = production;
  const slot = machine.slot(0, 0);
  const pte = machine.pte(0, 0);
  ptes.casPte(machine.memory, slot, pte, ptes.entryFor(pte));
  pageRef.dropMapping(machine.memory, 0);
  pageRef.freezePage(machine.memory, 0, 1);
  return machine.fails("busy 1", () => {
    const memory = machine.view(4);
    pageRef.unfreezePage(memory, 0, 1);
    pageRef.addMapping(memory, 0);
    ptes.finishEntry(memory, slot, pte);
  });
}

/** A device has it. */
function pinned(production: Production): Watched {
  const machine = new Failing(production, false);
  new Device(machine, machine.memory, 0).pin(0);
  return machine.fails("pinned 1", () => new Device(machine, machine.view(4), 0).unpin(0, 0));
}

/** A look-up holds the node's frame. */
function lookedUp(production: Production): Watched {
  const machine = new Failing(production, true);
  const { frames, keyhole } = production;
  keyhole.getStableFrame(machine.memory, NODE, machine.key(NODE));
  return machine.fails("pinned 1", () => frames.putPage(machine.view(4), 0));
}

/** The other guest's pte is an entry of somebody else: mapped, and not to be found. */
function copying(production: Production): Watched {
  const machine = new Failing(production, true);
  const { pte: ptes } = production;
  const slot = machine.slot(1, 0);
  const pte = machine.pte(1, 0);
  ptes.casPte(machine.memory, slot, pte, ptes.entryFor(pte));
  return machine.fails("raced 1", () => ptes.finishEntry(machine.view(4), slot, pte));
}

/** A free frame, no frame at all, and one of which only limbo has a reference. */
function nobodys(production: Production): Watched {
  const machine = new Failing(production, true, { guests: [2, 1] });
  const merged = machine.populate(0, 1, [5, 6]);
  machine.quiet(0, 1);
  new TinyKsmd(machine, machine.memory).merge(0, 1, 0);
  return machine.fails("raced 5", undefined, [merged, 2, 4, -1, 0.5]);
}

/** A vCPU may not answer in time: what was an entry is as before, for both guests. */
function stuck(production: Production, merged: boolean): Watched {
  const machine = new Failing(production, merged, { scanMs: 0 });
  const traces = new Traces(machine);
  const threads = { reader: machine.reader, migrator: machine.migrators.thread(2, 1, 0) };
  const scenario = machine.scenario(threads, () => {
    machine.checkCounts();
    if (machine.migrators.came() === "timeout 1") traces.expectNone();
  });
  return machine.migrators.watch(scenario, "migrated 1", "timeout 1");
}

/** The only frame of the node that is not in use is in limbo: it is waited for. */
function inLimbo(production: Production): Watched {
  const machine = new Failing(production, false, { guests: [1, 2], vcpus: [1] });
  machine.share([[1, 1]], [5, 6], NODE);
  machine.quiet(1, 0);
  new TinyKsmd(machine, machine.memory).merge(1, 0, 3);
  const threads = { reader: machine.reader, migrator: machine.migrators.thread(2, 1, 0) };
  return machine.migrators.watch(machine.scenario(threads), "migrated 1");
}

describe("a migration that fails", () => {
  for (const merged of [false, true]) {
    const kind = merged ? "a KSM frame" : "a private frame";
    mustMove(`${kind}: no free frame`, (p) => noFrame(p, merged), BOUNDS);
    mustMove(`${kind}: the page lock taken`, (p) => locked(p, merged), BOUNDS);
    mustMove(`${kind}: a vCPU that does not answer`, (p) => stuck(p, merged), BOUNDS);
  }
  mustMove("a frame that another migrator has", frozen, BOUNDS);
  mustMove("a pinned frame", pinned, BOUNDS);
  mustMove("a KSM frame that is looked up", lookedUp, BOUNDS);
  mustMove("a KSM frame that is being copied", copying, BOUNDS);
  mustMove("frames that are nobody's", nobodys, BOUNDS);
  mustMove("but not if limbo has a frame of the node", inLimbo, BOUNDS);
});

const MIGRATE = "migrate/migrate";

mustFail("a migration that fails", BOUNDS, [
  mutant("entries left", pinned, /deadlock|PTE-4|MIGRATE-2/, [
    MIGRATE,
    "  mapPlaces(memory, batch, i, outcome === MIGRATED ? target : old);\n",
    "  if (outcome === MIGRATED) mapPlaces(memory, batch, i, target);\n",
  ]),
  mutant("ptes put back with the new frame", pinned, /PTE-|REF-|MIGRATE-2/, [
    MIGRATE,
    "outcome === MIGRATED ? target : old);",
    "target);",
  ]),
  mutant("the new frame kept", pinned, /MIGRATE-2/, [
    MIGRATE,
    "  putPage(memory, target);\n  unlockPage(memory, old);\n",
    "  if (outcome === MIGRATED) putPage(memory, target);\n  unlockPage(memory, old);\n",
  ]),
  mutant("our reference kept", pinned, /MIGRATE-2/, [
    MIGRATE,
    "  } else {\n    putPage(memory, old);\n  }\n  return outcome;",
    "  }\n  return outcome;",
  ]),
  mutant("the lock kept where there is no frame", (p) => noFrame(p, true), /MIGRATE-2/, [
    MIGRATE,
    "  unlockPage(memory, old);\n  putPage(memory, old);\n  if (mapping",
    "  putPage(memory, old);\n  if (mapping",
  ]),
  mutant("our reference kept where the lock is taken", (p) => locked(p, true), /MIGRATE-2/, [
    MIGRATE,
    "    putPage(memory, old);\n    return MIGRATE_BUSY;",
    "    return MIGRATE_BUSY;",
  ]),
  mutant("a frame of another node taken instead", (p) => noFrame(p, true), /OUTCOME|MIGRATE-2/, [
    "mm/frames",
    "counted === NONE ? takeFrom(memory, node, true, false) : counted",
    "counted === NONE ? takeFrom(memory, node, false, false) : counted",
  ]),
  mutant("a vCPU that does not answer taken for one that did", (p) => stuck(p, false), /PTE-1/, [
    MIGRATE,
    "!== NONE) stuck[guest] = 1;",
    "!== NONE) stuck[guest] = 0;",
  ]),
  mutant("one guest's answer taken for that of all", (p) => stuck(p, true), /PTE-1/, [
    MIGRATE,
    "for (let place = begin; place < end; place++) {\n    if (batch.stuck",
    "for (let place = begin; place < begin + 1; place++) {\n    if (batch.stuck",
  ]),
  // The freeze alone keeps such a frame where it is: it would be said to be pinned.
  mutant("the mapcount not looked at", copying, /OUTCOME: pinned/, [
    MIGRATE,
    "  if (mapcount(memory, old) !== 0) return MIGRATE_RACED;\n",
    "",
  ]),
  mutant("a frame without places taken for a mapped one", nobodys, /OUTCOME/, [
    MIGRATE,
    "  if (begin === end) return MIGRATE_RACED;\n",
    "",
  ]),
  mutant("frozen taken for gone", frozen, /OUTCOME: raced/, [
    MIGRATE,
    "got === REF_FROZEN ? MIGRATE_BUSY : MIGRATE_RACED",
    "got === REF_FROZEN ? MIGRATE_RACED : MIGRATE_RACED",
  ]),
  mutant("any number taken for a frame", nobodys, /undefined|TypeError/, [
    MIGRATE,
    "  if (!isFrame(memory, old)) return MIGRATE_RACED;\n",
    "",
  ]),
  mutant("limbo not waited for", inLimbo, /OUTCOME: no_frame/, [
    MIGRATE,
    "  if (freeFrames(memory, nid) < to - from) drainAllLimbo(memory, memory.patience.scanMs);\n",
    "",
  ]),
]);
