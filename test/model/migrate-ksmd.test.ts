/**
 * Question: do a migrator and the shipped ksmd, at work on one frame, lose a byte, a count or a merged page; and
 * does ksmd, or a vCPU on another page, ever wait for a migrator?
 * Threads: a migrator, ksmd (a whole pass, or run = 2), and a vCPU or none. Two nodes of 4 frames, 2 or 3 guests
 * with a page each. Bounds: 2 preemptions.
 */
import { describe } from "vitest";
import type { Scenario } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import type { TinyOptions } from "./machine.js";
import { Migrators, mustMove, type Watched } from "./migrator.js";
import { lines, mustFail, mutant } from "./mutants.js";
import * as seam from "./seam.js";

const BOUNDS = { preemptions: 2 };
const WIDE = { preemptions: 3 };

/** Guests live on nodes 0 and 1 by turns. */
class Merging extends KsmMachine {
  readonly migrators = new Migrators(this);

  constructor(production: Production, options: TinyOptions) {
    super(production, { framesShift: 2, nodes: 2, ...options });
  }

  frameOf(guest: number): number {
    return this.production.layout.ptePfn(this.pte(guest, 0));
  }

  writer(vcpu: number, value: number): () => void {
    return () => this.vcpu(this.view(vcpu), vcpu, `writer${vcpu}`).store(0, 0, value);
  }

  /** Moves this frame to the other node. */
  migrator(pfn: number): () => void {
    return () => {
      this.migrators.moveAway(this.view(4), pfn);
    };
  }

  /** Begins a pass: the harvest, and the first pages to visit. */
  begin(pages: number): void {
    this.production.scan.scanBatch(this.shard, pages);
  }

  watch(threads: Scenario["threads"], legal: readonly string[], check?: () => void): Watched {
    return this.migrators.watch(this.ksmScenario(threads, check), ...legal);
  }
}

/** Guests 0 and 1 with equal pages; the pass has made guest 0's a candidate, and goes on to merge guest 1's with it. */
function paired(production: Production, vcpus: readonly number[]): Merging {
  const machine = new Merging(production, { guests: [1, 1], vcpus });
  for (const guest of [0, 1]) machine.populate(guest, 0, [7, 8]);
  machine.pass();
  machine.begin(1);
  return machine;
}

/** Guests 0 and 1 share a frame. */
function merged(production: Production, vcpus: readonly number[]): Merging {
  const machine = new Merging(production, { guests: [1, 1, 1], vcpus });
  for (const guest of [0, 1]) machine.populate(guest, 0, [7, 8]);
  machine.pass();
  machine.pass();
  return machine;
}

/** The frame of the scanned page (guest 1) or of the candidate (guest 0), while a vCPU writes one of the pages. */
function ofPair(production: Production, guest: number, written: number): Watched {
  const machine = paired(production, [written]);
  const threads = {
    ksmd: () => machine.pass(),
    migrator: machine.migrator(machine.frameOf(guest)),
    writer0: machine.writer(0, 7),
  };
  const busy = guest === 0 ? ["busy 1"] : [];
  return machine.watch(threads, ["migrated 1", "pinned 1", "raced 1", ...busy]);
}

/** The KSM frame that guest 2's page is being merged onto, while guest `writer` writes its page. */
function ofNode(production: Production, writer: number | null): Watched {
  const machine = merged(production, writer === null ? [] : [writer]);
  machine.populate(2, 0, [7, 8]);
  machine.pass();
  machine.begin(2);
  const threads = {
    ksmd: () => machine.pass(),
    migrator: machine.migrator(machine.frameOf(0)),
    ...(writer !== null ? { writer0: machine.writer(0, 1) } : {}),
  };
  const raced = writer !== null ? ["raced 1"] : [];
  return machine.watch(threads, ["migrated 1", "pinned 1", "busy 1", ...raced]);
}

/** The KSM frame that ksmd takes guest 1's written page off, while the last guest leaves it. */
function ofDyingNode(production: Production, written: boolean): Watched {
  const machine = merged(production, [1, 0]);
  const pfn = machine.frameOf(0);
  machine.vcpu(machine.memory, 0, "before").store(0, 0, 1);
  machine.wrote(1, 0, 0, 1);
  machine.begin(1);
  const threads = {
    ksmd: () => machine.pass(),
    migrator: machine.migrator(pfn),
    ...(written ? { writer1: machine.writer(1, 2) } : {}),
  };
  const raced = written ? ["raced 1"] : [];
  return machine.watch(threads, ["migrated 1", "pinned 1", "busy 1", ...raced]);
}

/** A word of no use in a model: ksmd waits there for the guest. */
function stageOf(machine: Merging): [Int32Array, number] {
  const { control, layout } = machine.memory;
  return [control, layout.threads];
}

function reach(machine: Merging, stage: number): void {
  seam.storeWord(...stageOf(machine), stage);
  seam.notifyWord(...stageOf(machine), 1);
}

function waitFor(machine: Merging, stage: number): void {
  while (seam.loadWord(...stageOf(machine)) < stage) seam.waitWord(...stageOf(machine), 0, 1);
}

/** The last guest leaves the frame, and its node's number is given out anew, while the migrator is about to walk. */
function ofRetiredNode(production: Production): Watched {
  const machine = new Merging(production, { guests: [1, 1, 1, 1], vcpus: [0, 1] });
  for (const guest of [0, 1]) machine.populate(guest, 0, [7, 8]);
  machine.pass();
  machine.pass();
  for (const guest of [2, 3]) machine.populate(guest, 0, [9, 9]);
  machine.pass();
  const pfn = machine.frameOf(0);
  machine.vcpu(machine.memory, 1, "before").store(0, 0, 1);
  machine.wrote(1, 0, 0, 1);
  const threads = {
    migrator: machine.migrator(pfn),
    guest: () => {
      machine.vcpu(machine.view(0), 0, "guest").store(0, 0, 1);
      reach(machine, 1);
    },
    ksmd: () => {
      waitFor(machine, 1);
      machine.pass();
    },
  };
  return machine.watch(threads, ["migrated 1", "pinned 1", "busy 1", "raced 1"]);
}

/** run = 2: no page is left merged, also if its pte was a migrator's entry (H31). */
function unmerged(production: Production, written: boolean): Watched {
  const machine = merged(production, [1]);
  const threads = {
    ksmd: () => production.control.setKnobs(machine.shard, { run: 2 }),
    migrator: machine.migrator(machine.frameOf(0)),
    ...(written ? { writer0: machine.writer(0, 1) } : {}),
  };
  return machine.watch(threads, ["migrated 1", "pinned 1", "busy 1", "raced 1"], () => {
    const { ksm_ptes, pages_shared } = machine.counters;
    if (ksm_ptes + pages_shared !== 0) throw new Error(`UNMERGE-1: ${ksm_ptes} left merged`);
  });
}

/** ITEM-3: a trusted hash is that of the bytes, unless the pte has D. */
function checkHash(machine: Merging, guest: number): void {
  const { layout } = machine.production;
  const { control, layout: at } = machine.memory;
  const item = at.items + machine.slot(guest, 0) * layout.ITEM_WORDS;
  if (((control[item + layout.ITEM_STATE] as number) & layout.ITEM_TRUSTED) === 0) return;
  if ((machine.pte(guest, 0) & layout.PTE_DIRTY) !== 0) return;
  for (const cell of [0, 1]) {
    const hash = control[item + cell];
    const last = machine.lastWritten(guest, 0, cell);
    if (hash !== last) throw new Error(`ITEM-3: cell ${cell} hashed as ${hash}, is ${last}`);
  }
}

/** A page with a trusted hash moves and is written while it is harvested: what is trusted then is exact. */
function ofHarvested(production: Production, scanMs: number): Watched {
  const machine = new Merging(production, { guests: [1], vcpus: [0], scanMs });
  machine.populate(0, 0, [7, 8]);
  machine.pass();
  machine.pass();
  const threads = {
    ksmd: () => machine.pass(),
    migrator: machine.migrator(machine.frameOf(0)),
    writer0: () => {
      const running = machine.vcpu(machine.view(0), 0, "writer0");
      running.begin();
      running.store(0, 0, 1);
      running.store(0, 0, 2);
      running.end();
    },
  };
  const legal = ["migrated 1", "raced 1"];
  if (scanMs === 0) legal.push("timeout 1");
  return machine.watch(threads, legal, () => checkHash(machine, 0));
}

describe("migrate against ksmd", () => {
  mustMove("the frame of the scanned page, written", (p) => ofPair(p, 1, 1), BOUNDS);
  mustMove("the frame of the candidate, written", (p) => ofPair(p, 0, 0), BOUNDS);
  mustMove("the frame of the candidate, the other written", (p) => ofPair(p, 0, 1), BOUNDS);
  mustMove("the KSM frame that a page is merged onto", (p) => ofNode(p, null), WIDE);
  mustMove("the same, while a sharer leaves it", (p) => ofNode(p, 1), BOUNDS);
  mustMove("the same, while that page is written", (p) => ofNode(p, 2), BOUNDS);
  mustMove("the KSM frame that a written page is taken off", (p) => ofDyingNode(p, false), WIDE);
  mustMove("the same, while the last guest leaves it", (p) => ofDyingNode(p, true), BOUNDS);
  mustMove("the KSM frame of a node whose number goes to another", ofRetiredNode, BOUNDS);
  mustMove("the KSM frame of pages that are unmerged", (p) => unmerged(p, false), WIDE);
  mustMove("the same, while a sharer leaves it", (p) => unmerged(p, true), BOUNDS);
  mustMove("a page that is harvested", (p) => ofHarvested(p, 1), WIDE);
  mustMove("a page that is harvested, shootdowns given up", (p) => ofHarvested(p, 0), WIDE);
});

const MIGRATE = "migrate/migrate";

mustFail("migrate against ksmd", BOUNDS, [
  mutant(
    "walked without the page lock",
    (p) => ofPair(p, 0, 1),
    /RMAP-1|PTE-3/,
    [MIGRATE, "if (!trylockPage(memory, old)) {", "if (old < 0) {"],
    [
      MIGRATE,
      "  unlockPage(memory, old);\n  putPage(memory, old);\n  if (mapping",
      "  putPage(memory, old);\n  if (mapping",
    ],
    [MIGRATE, "  unlockPage(memory, old);\n  if (outcome", "  if (outcome"],
  ),
  mutant(
    "an entry taken for a page that is not merged (H31)",
    (p) => unmerged(p, false),
    /UNMERGE-1|ITEM-2|MAP-1/,
    ["ksm/unmerge", "        else foreign = pte;", "        else slot++;"],
  ),
  mutant("M not kept in entries (H31)", (p) => unmerged(p, false), /PTE-5|UNMERGE-1/, [
    "mm/pte",
    "return (pte & ~PTE_STATE_MASK) | PTE_ENTRY;",
    "return (pte & ~PTE_STATE_MASK & ~PTE_MERGED) | PTE_ENTRY;",
  ]),
  mutant("D cleared in an entry", (p) => ofHarvested(p, 1), /MIGRATE-1|ITEM-3|PTE-/, [
    "ksm/harvest",
    "(pte & PTE_DIRTY) !== 0 && !pteIsEntry(pte); pte",
    "(pte & PTE_DIRTY) !== 0; pte",
  ]),
  mutant(
    "the node not moved with its frame",
    (p) => ofNode(p, null),
    /MAP-|KEY-|PTE-|REF-|STABLE-|ITEM-/,
    [MIGRATE, "    moveStableFrame(memory, mappingId(key), key, old, target);\n", ""],
  ),
  mutant(
    "a page taken off its node after the unlock (O9, H81)",
    (p) => ofDyingNode(p, false),
    /RMAP-1/,
    [
      "ksm/sharers",
      "  removeSharer(shard, stable, slot);\n  disownFrame(memory, stable, pfn);\n  unlockPage(memory, pfn);\n",
      "  unlockPage(memory, pfn);\n  removeSharer(shard, stable, slot);\n",
    ],
  ),
  mutant(
    "run = 2 takes pages off their node without the page lock",
    (p) => unmerged(p, false),
    /RMAP-1/,
    [
      "ksm/sharers",
      "  if (!takeLock(memory, pfn, wait)) return false;\n  removeSharers(",
      "  if (wait && pfn < 0) return false;\n  removeSharers(",
    ],
    [
      "ksm/sharers",
      "  removeSharers(shard, stable);\n  disownFrame(memory, stable, pfn);\n  unlockPage(memory, pfn);\n",
      "  removeSharers(shard, stable);\n  disownFrame(memory, stable, pfn);\n",
    ],
  ),
  mutant("a node without sharers whose frame keeps its key", ofRetiredNode, /RMAP-1/, [
    "ksm/sharers",
    "  removeSharer(shard, stable, slot);\n  disownFrame(memory, stable, pfn);\n",
    "  removeSharer(shard, stable, slot);\n",
  ]),
  mutant("frozen with ksmd's reference", (p) => ofNode(p, null), /REF-|PTE-|MAP-/, [
    MIGRATE,
    "return freezePage(memory, old, 1) ? MIGRATED : MIGRATE_PINNED;",
    "return freezePage(memory, old, 1) || freezePage(memory, old, 2) ? MIGRATED : MIGRATE_PINNED;",
  ]),
]);

mustFail("migrate against a harvest that is given up", WIDE, [
  mutant("an entry passed over where D goes back (HARVEST-2)", (p) => ofHarvested(p, 0), /ITEM-3/, [
    "ksm/harvest",
    "if (pteIsEntry(pte)) waitForEntry(memory, slot, pte);",
    "if (pteIsEntry(pte)) return;",
  ]),
]);

mustFail("migrate against an unmerge", WIDE, [
  mutant(
    "a pte that changed and came back taken for no frame",
    (p) => unmerged(p, false),
    /ran out/,
    [
      "ksm/unmerge",
      lines(
        "  if (readPte(memory, slot) !== pte) {",
        "    putPage(memory, old);",
        "    return 0;",
        "  }",
        "  // Owning entries it waits for nobody; the batch is finished first, and then limbo may be drained.",
        "  const alloc = count === 0 ? allocForPage : allocForPageNow;",
        "  const copy = alloc(memory, guest, slot);",
      ),
      lines(
        "  const alloc = count === 0 ? allocForPage : allocForPageNow;",
        "  const copy = readPte(memory, slot) === pte ? alloc(memory, guest, slot) : NONE;",
      ),
    ],
  ),
]);
