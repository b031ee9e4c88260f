/**
 * Question: do two migrators at one frame, or at the frames that they take and give, lose a byte or a count, and does
 * a later round move what both of them have left?
 * Threads: two migrators, a vCPU or none, and a third migrator when they are done. Two nodes of 2 frames. Bounds: 3
 * preemptions for two threads, 2 for three.
 */
import { describe } from "vitest";
import type { Production } from "./loader.js";
import type { TinyMachine } from "./machine.js";
import { mustMove, type Watched } from "./migrator.js";
import { Moving, NODE, sharing } from "./moving.js";
import { mustFail, mutant } from "./mutants.js";
import * as seam from "./seam.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };

/** Words of no use in a model: how many threads are done. */
function doneWord(machine: TinyMachine): [Int32Array, number] {
  const { control, layout } = machine.memory;
  return [control, layout.threads];
}

/** The threads, and a migrator that tries these pages' frames once more when all of them are done: a later round. */
function andAgain(
  machine: Moving,
  threads: Readonly<Record<string, () => void>>,
  pages: readonly (readonly [number, number])[],
): Record<string, () => void> {
  const entries = Object.entries(threads).map(([name, body]): [string, () => void] => [
    name,
    () => {
      body();
      seam.addWord(...doneWord(machine), 1);
      seam.notifyWord(...doneWord(machine), 1);
    },
  ]);
  return {
    ...Object.fromEntries(entries),
    migratorAgain: () => {
      const { base, layout, pte } = machine.production;
      const memory = machine.view(5);
      for (;;) {
        const done = seam.loadWord(...doneWord(machine));
        if (done === entries.length) break;
        seam.waitWord(...doneWord(machine), done, 1);
      }
      const frames = pages.map(([guest, gfn]) =>
        layout.ptePfn(pte.readPte(memory, machine.slot(guest, gfn))),
      );
      const left = frames.filter((pfn) => base.nodeOf(memory, pfn) === 0);
      if (left.length > 0) machine.migrators.move(memory, 1, ...left);
    },
  };
}

/** Two migrators want one frame (H90), and a vCPU writes it. */
function rivals(production: Production): Watched {
  const machine = new Moving(production);
  const pfn = machine.populate(0, 0, [5, 6]);
  const threads = {
    migrator1: machine.migrators.thread(1, 1, pfn),
    migrator2: machine.migrators.thread(2, 1, pfn),
    writer0: machine.writer(0),
  };
  return machine.migrators.watch(
    machine.scenario(threads),
    "migrated 1, busy 1",
    "migrated 1, raced 1",
    "pinned 1, busy 1",
    "migrated 1, pinned 1",
    "pinned 2",
  );
}

/** Two migrators want one frame, and may both find it pinned, each by the other; a later round moves it. */
function retried(production: Production): Watched {
  const machine = new Moving(production);
  const pfn = machine.populate(0, 0, [5, 6]);
  const threads = {
    migrator1: machine.migrators.thread(1, 1, pfn),
    migrator2: machine.migrators.thread(2, 1, pfn),
  };
  return machine.migrators.watch(
    machine.scenario(andAgain(machine, threads, [[0, 0]]), () => {
      machine.checkCounts();
      expectOn(machine, 1, [[0, 0]]);
    }),
    "migrated 1, busy 1",
    "migrated 1, raced 1",
    "migrated 1, pinned 1",
    "migrated 1, pinned 1, busy 1",
    "migrated 1, pinned 2",
  );
}

/** Two migrators want the same two KSM frames of one guest, in opposite order; a later round moves what is left. */
function crossed(production: Production): Watched {
  const machine = new Moving(production, { guests: [2] });
  const pages = [
    [0, 0],
    [0, 1],
  ] as const;
  const pfns = pages.map((page, n) => machine.share([page], [5 + n, 6], NODE + n));
  const threads = {
    migrator1: machine.migrators.thread(1, 1, ...pfns),
    migrator2: machine.migrators.thread(2, 1, ...pfns.toReversed()),
  };
  return machine.migrators.watch(
    machine.scenario(andAgain(machine, threads, pages), () => {
      machine.checkCounts();
      expectOn(machine, 1, pages);
    }),
    "migrated 2, busy 2",
    "migrated 2, busy 1, raced 1",
    "migrated 2, raced 2",
    "migrated 2, pinned 1, busy 1",
    "migrated 2, pinned 1, raced 1",
    "migrated 2, pinned 1, busy 2",
    "migrated 2, pinned 1, busy 1, raced 1",
    "migrated 2, pinned 2, busy 1",
    "migrated 2, pinned 2, raced 1",
  );
}

/** The pages' frames lie on this node. */
function expectOn(
  machine: Moving,
  nid: number,
  pages: readonly (readonly [number, number])[],
): void {
  const { base, layout } = machine.production;
  for (const [guest, gfn] of pages) {
    const on = base.nodeOf(machine.memory, layout.ptePfn(machine.pte(guest, gfn)));
    if (on !== nid) throw new Error(`OUTCOME: (${guest}, ${gfn}) is left on node ${on}`);
  }
}

/** The second tries the very frame that the first moves the page to. */
function follower(production: Production): Watched {
  const machine = sharing(production);
  const threads = {
    migrator1: machine.migrators.thread(2, 1, machine.pfn),
    migrator2: machine.migrators.thread(3, 0, 2),
    reader1: machine.reader(1),
  };
  return machine.migrators.watch(
    machine.scenario(threads),
    "migrated 1, busy 1",
    "migrated 1, raced 1",
    "migrated 2",
    "migrated 1, pinned 1",
    "busy 1, raced 1",
  );
}

describe("migrate", () => {
  mustMove("two migrators on one frame", rivals, NARROW);
  mustMove("two migrators on one frame, and a later round", retried, BOUNDS);
  mustMove("two migrators on two KSM frames of one guest", crossed, NARROW);
  mustMove("a migrator on the frame that another took", follower, NARROW);
});

mustFail("migrate", NARROW, [
  mutant("a reference kept on a frame whose lock was taken", retried, /REF-1|OUTCOME/, [
    "migrate/migrate",
    "  if (!trylockPage(memory, old)) {\n    putPage(memory, old);\n",
    "  if (!trylockPage(memory, old)) {\n",
  ]),
]);
