/**
 * Question: with merge_across_nodes 0, does ksmd merge pages of one node alone, and does every page and every
 * stable node end up in the tree of its frame, whatever moves while it is placed; and is nothing lost?
 * Threads: ksmd (a pass, or a command), a migrator, and a writer or none. Two nodes of 4 frames, 2 to 5 guests with
 * a page or two each; even ones live on node 0, odd ones on node 1. Bounds: 2 or 3 preemptions.
 */
import { describe } from "vitest";
import type { Scenario, Step } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import type { Production } from "./loader.js";
import { ghost, type TinyOptions } from "./machine.js";
import { Migrators, mustMove, type Watched } from "./migrator.js";
import { mustFail, mustHold, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 2 };
const WIDE = { preemptions: 3 };
/** Passes after which nothing more happens. */
const SETTLED = 3;

class PerNode extends KsmMachine {
  readonly migrators = new Migrators(this);

  constructor(production: Production, options: TinyOptions, knobs: object = {}) {
    super(production, { framesShift: 2, nodes: 2, ...options });
    production.knobs.writeKnobs(this.memory, { mergeAcrossNodes: 0, ...knobs });
  }

  frameOf(guest: number, gfn = 0): number {
    return this.production.layout.ptePfn(this.pte(guest, gfn));
  }

  nodeOf(pfn: number): number {
    return this.production.base.nodeOf(this.memory, pfn);
  }

  /** Guests' pages 0 with these cells. */
  fill(guests: readonly number[], cells: readonly [number, number] = [7, 8]): void {
    for (const guest of guests) this.populate(guest, 0, cells);
  }

  passes(count: number): void {
    for (let pass = 0; pass < count; pass++) this.pass();
  }

  /** Moves the frame to the other node before the search. */
  moveNow(pfn: number): void {
    const { batch, migrate } = this.production;
    const tally = new Int32Array(batch.OUTCOMES);
    const to = 1 - this.nodeOf(pfn);
    migrate.migrateFrames(this.memory, [pfn], to, batch.createBatch(this.memory), tally);
    if (tally[batch.MIGRATED] !== 1) throw new Error("not moved");
  }

  /** Writes a page by its vCPU before the search. */
  writeNow(guest: number, value: number): void {
    this.vcpu(this.memory, guest, "before").store(0, 0, value);
    this.wrote(guest, 0, 0, value);
  }

  migrator(...pfns: number[]): () => void {
    return () => {
      const memory = this.view(4);
      for (const pfn of pfns) this.migrators.moveAway(memory, pfn);
    };
  }

  writer(guest: number, value: number): () => void {
    return () => this.vcpu(this.view(guest), guest, `writer${guest}`).store(0, 0, value);
  }

  ksmd = (): void => this.pass();

  /** What must hold when the threads have ended, and after some passes more. */
  scenarioOf(threads: Scenario["threads"]): Scenario {
    const scenario = this.ksmScenario(threads, () => {
      this.passes(SETTLED);
      this.checkCounts();
      this.checkBytes();
      this.checkSettled();
    });
    return {
      ...scenario,
      observe: (step) => {
        scenario.observe?.(step);
        this.checkRedirect(step);
      },
    };
  }

  watch(threads: Scenario["threads"], ...legal: string[]): Watched {
    return this.migrators.watch(this.scenarioOf(threads), ...legal);
  }

  /** MERGE-4: a pte that is changed from one frame to another, in one step, stays on its node. */
  private checkRedirect(step: Step): void {
    const { control, layout } = this.memory;
    if (this.production.knobs.knobMergeAcrossNodes(this.memory)) return;
    if (step.kind !== "cas" || step.words !== control) return;
    if (step.index < layout.ptes || step.index >= layout.items) return;
    const { ptePfn } = this.production.layout;
    const before = ptePfn(step.value);
    const after = ptePfn(control[step.index] as number);
    if (step.value === 0 || this.nodeOf(before) === this.nodeOf(after)) return;
    throw new Error(`MERGE-4: redirected from frame ${before} to frame ${after}`);
  }

  private isMergeable(guest: number, gfn: number): boolean {
    const { shards } = this.production;
    return shards.getBit(this.memory, this.memory.layout.mergeable, this.slot(guest, gfn));
  }

  /** No page waits beside its equal, and merged frames of one content and node are one chain. */
  private checkSettled(): void {
    const { PTE_MERGED } = this.production.layout;
    const waiting = new Set<string>();
    const frames = new Map<string, Set<number>>();
    for (const [guest, gfn] of this.pages) {
      const pte = this.pte(guest, gfn);
      if (pte === 0 || !this.isMergeable(guest, gfn)) continue;
      const pfn = this.frameOf(guest, gfn);
      const cells = [0, 1].map((cell) => this.lastWritten(guest, gfn, cell));
      const across = this.production.knobs.knobMergeAcrossNodes(this.memory);
      const content = across ? `${cells}` : `${cells} on node ${this.nodeOf(pfn)}`;
      if ((pte & PTE_MERGED) === 0 && waiting.has(content)) {
        throw new Error(`SETTLED: two pages with ${content}`);
      }
      if ((pte & PTE_MERGED) === 0) waiting.add(content);
      else frames.set(content, (frames.get(content) ?? new Set()).add(pfn));
    }
    const room = this.production.knobs.knobMaxPageSharing(this.memory) > 2;
    const beside = [...waiting].filter((content) => room && frames.has(content));
    if (beside.length > 0) throw new Error(`SETTLED: a page waits beside ${beside}`);
    const chains = [...frames.values()].filter(({ size }) => size > 1);
    if (this.counters.stable_node_chains !== chains.length) {
      throw new Error(`SETTLED: ${this.counters.stable_node_chains} chains, not ${chains.length}`);
    }
  }
}

/** Guests 0 and 2 share a frame that was moved to node 1 since. */
function misplaced(production: Production, twin: readonly number[], options = {}): PerNode {
  const machine = new PerNode(production, { guests: [1, 1, 1, 1], ...options });
  machine.fill([0, 2, ...twin]);
  machine.passes(2);
  machine.moveNow(machine.frameOf(0));
  return machine;
}

/** The node is given another place while it moves back. */
function movesBack(production: Production): Watched {
  const machine = misplaced(production, []);
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(0)) };
  return machine.watch(threads, "migrated 1", "pinned 1", "busy 1");
}

/** It moves to node 1 while a pass looks for what has moved. */
function movesAway(production: Production): Watched {
  const machine = new PerNode(production, { guests: [1, 1, 1] });
  machine.fill([0, 2]);
  machine.passes(2);
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(0)) };
  return machine.watch(threads, "migrated 1");
}

/** It has an equal on its new node (guests 1 and 3): that one, or the node itself, moves away meanwhile. */
function besideTwin(production: Production, moved: number): Watched {
  const machine = misplaced(production, [1, 3]);
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(moved)) };
  const locked = moved === 0 ? ["busy 1"] : [];
  return machine.watch(threads, "migrated 1", "pinned 1", ...locked);
}

/** Of two pages one has left: the other's frame was moved to where it has an equal. */
function lastOne(production: Production): PerNode {
  const machine = new PerNode(production, { guests: [1, 1, 1, 1], vcpus: [0, 1, 2, 3] });
  machine.fill([0, 1, 2, 3]);
  machine.passes(2);
  machine.writeNow(2, 1);
  machine.passes(2);
  machine.moveNow(machine.frameOf(0));
  return machine;
}

/** It has one page left, which goes onto its equal, while one of the frames moves or the page is written. */
function ontoTwin(production: Production, moved: number | null, written: number | null): Watched {
  const machine = lastOne(production);
  const threads = {
    ksmd: machine.ksmd,
    ...(moved === null ? {} : { migrator: machine.migrator(machine.frameOf(moved)) }),
    ...(written === null ? {} : { [`writer${written}`]: machine.writer(written, 2) }),
  };
  if (moved === null) return machine.watch(threads, "");
  const raced = moved === 0 ? ["raced 1"] : [];
  return machine.watch(threads, "migrated 1", "pinned 1", "busy 1", ...raced);
}

/** A page of guest 4, on node 0, is merged onto the frame of guests 0 and 2, or that page's moves away. */
function met(production: Production, moved: number): Watched {
  const machine = new PerNode(production, { guests: [1, 1, 1, 1, 1] });
  machine.fill([0, 2]);
  machine.passes(2);
  machine.fill([4]);
  machine.pass();
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(moved)) };
  const raced = moved === 4 ? ["raced 1"] : ["busy 1"];
  return machine.watch(threads, "migrated 1", "pinned 1", ...raced);
}

/** Pages of guests 0 and 2 are merged with each other, while the frame of one moves away. */
function pairs(production: Production, moved: number): Watched {
  const machine = new PerNode(production, { guests: [1, 1, 1] });
  machine.fill([0, 2]);
  machine.pass();
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(moved)) };
  const other = moved === 0 ? ["busy 1"] : ["raced 1"];
  return machine.watch(threads, "migrated 1", "pinned 1", ...other);
}

/** A page has a trusted hash and no place, because its equal was locked; it moves away before it is placed. */
function unplaced(production: Production, ontoNode: boolean): Watched {
  const machine = new PerNode(production, { guests: [1, 1, 1, 1, 1] });
  const { pageLock } = production;
  machine.fill(ontoNode ? [0, 4] : [0]);
  machine.passes(ontoNode ? 2 : 0);
  machine.fill([1, 2]);
  machine.pass();
  pageLock.trylockPage(machine.view(3), machine.frameOf(0));
  machine.pass();
  pageLock.unlockPage(machine.view(3), machine.frameOf(0));
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(2)) };
  return machine.watch(threads, "migrated 1", "pinned 1", "raced 1");
}

/** The knob changes while a page that waits moves to the node of its equal. */
function switched(production: Production): Watched {
  const machine = new PerNode(production, { guests: [1, 1] }, { mergeAcrossNodes: 1 });
  machine.fill([1]);
  machine.passes(2);
  machine.fill([0]);
  machine.pass();
  const threads = {
    ksmd: () => {
      production.control.setKnobs(machine.shard, { mergeAcrossNodes: 0 });
      machine.pass();
    },
    migrator: machine.migrator(machine.frameOf(1)),
  };
  return machine.watch(threads, "migrated 1", "pinned 1");
}

/** A page that waits moves away; the mark of the page beside it has been there before. */
function waiting(production: Production): Watched {
  const machine = new PerNode(production, { guests: [2, 1] });
  machine.populate(0, 0, [7, 8]);
  machine.populate(0, 1, [5, 6]);
  machine.passes(2);
  machine.moveNow(machine.frameOf(0, 0));
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(0, 1)) };
  return machine.watch(threads, "migrated 1");
}

/** Its page is read, through a translation of before, while it goes onto its equal. */
function readAway(production: Production): Watched {
  const machine = lastOne(production);
  const reader = () => {
    const running = machine.vcpu(machine.view(0), 0, "reader");
    running.begin();
    for (const cell of [0, 1, 0]) running.load(0, cell);
    running.end();
  };
  return machine.watch({ ksmd: machine.ksmd, reader }, "");
}

/** A pair becomes the dup of a full node whose frame moves: frozen, it cannot be told what it is. */
function besideFull(production: Production): Watched {
  const limits = { maxPageSharing: 2, mergeAcrossNodes: 1 };
  const machine = new PerNode(production, { guests: [2, 2] }, limits);
  machine.fill([0, 1]);
  machine.passes(2);
  for (const guest of [0, 1]) machine.populate(guest, 1, [7, 8]);
  machine.pass();
  const threads = { ksmd: machine.ksmd, migrator: machine.migrator(machine.frameOf(0)) };
  return machine.watch(threads, "migrated 1", "pinned 1");
}

/** A region is unmerged while the frame that its page shares moves, and then it is frozen. */
function region(production: Production): Watched {
  const machine = new PerNode(production, { guests: [1, 1, 1] });
  machine.fill([0, 2]);
  machine.passes(2);
  const { lifecycle, layout } = production;
  const threads = {
    ksmd: () => {
      const outcome = lifecycle.makeUnmergeable(machine.shard, 0, 0, 1);
      if (outcome !== 0) throw new Error(`UNMERGE: outcome ${outcome}`);
    },
    migrator: machine.migrator(machine.frameOf(0)),
  };
  const scenario = machine.watch(threads, "migrated 1", "pinned 1", "busy 1", "raced 1");
  return {
    ...scenario,
    check: () => {
      scenario.check();
      if ((machine.pte(0, 0) & layout.PTE_MERGED) !== 0) throw new Error("UNMERGE-1: left merged");
    },
  };
}

/** A node's frame moves away and comes back; in between another page has been there (H24). */
function peeked(production: Production): Scenario {
  const machine = new PerNode(production, { guests: [1, 1, 1, 1] });
  const { peek, layout, pte: ptes } = production;
  machine.fill([0, 2]);
  machine.passes(2);
  const pfn = machine.frameOf(0);
  const stable = layout.mappingId(production.pageMapping.readMapping(machine.memory, pfn));
  // Equal to the node's bytes; and another page, which goes where the node was.
  machine.fill([3]);
  machine.quiet(3, 0);
  const other = machine.populate(1, 0, [5, 6]);
  return machine.scenario({
    ksmd: () => {
      const differs = peek.differsFromNode(machine.view(5), machine.slot(3, 0), stable);
      ghost(() => {
        if (differs) throw new Error("H24: the node's bytes were another's");
      });
    },
    migrator: () => {
      const memory = machine.view(4);
      const { migrators } = machine;
      if (!migrators.move(memory, 1, pfn) || !migrators.move(memory, 0, other)) return;
      migrators.move(memory, 1, layout.ptePfn(ptes.readPte(memory, machine.slot(1, 0))));
      migrators.move(memory, 0, layout.ptePfn(ptes.readPte(memory, machine.slot(0, 0))));
    },
  });
}

describe("re-placement", () => {
  mustMove("of a node that moves back", movesBack, BOUNDS);
  mustMove("of a node that moves away", movesAway, BOUNDS);
  mustMove("beside an equal node, and it moves away", (p) => besideTwin(p, 0), BOUNDS);
  mustMove("beside an equal node that moves away", (p) => besideTwin(p, 1), BOUNDS);
  mustMove("onto an equal node, and it moves away", (p) => ontoTwin(p, 0, null), BOUNDS);
  mustMove("onto an equal node that moves away", (p) => ontoTwin(p, 1, null), BOUNDS);
  mustMove("onto an equal node, and its page is written", (p) => ontoTwin(p, null, 0), BOUNDS);
  mustMove("onto an equal node, and its page is read", readAway, BOUNDS);
  mustMove("of a page that was not placed yet", (p) => unplaced(p, false), BOUNDS);
  mustMove("of a page that was not merged yet", (p) => unplaced(p, true), BOUNDS);
  mustMove("of a page that waits and moves away", waiting, BOUNDS);
  mustMove("of a pair whose content has a full node, frozen", besideFull, BOUNDS);
});

describe("merging on each node", () => {
  mustMove("onto a node that moves away", (p) => met(p, 0), BOUNDS);
  mustMove("a page that moves away onto a node", (p) => met(p, 4), BOUNDS);
  mustMove("with a page that moves away", (p) => pairs(p, 0), BOUNDS);
  mustMove("a page that moves away with another", (p) => pairs(p, 2), BOUNDS);
  mustMove("from now on, while a page moves", switched, BOUNDS);
  mustMove("no more in a region, while its frame moves", region, BOUNDS);
  mustHold("a look at a node that moves away and back", peeked, WIDE);
});

const MERGE = "ksm/merge";
const REPLACE = "ksm/replace";
const MARK = "    if (isAway) markMoved(memory, batch.slots[place] as Slot);\n";

mustFail("merging on each node", BOUNDS, [
  mutant("onto a misplaced node (H18)", (p) => met(p, 0), /MERGE-4/, [
    MERGE,
    "  if (treeOfFrame(memory, target) !== tree) return MISPLACED;\n",
    "",
  ]),
  mutant("onto a misplaced node, in a batch (H18)", (p) => met(p, 0), /MERGE-4/, [
    "ksm/aim",
    "if (treeOfFrame(memory, target) === treeOfFrame(memory, pfn)) return target;",
    "if (target !== pfn) return target;",
  ]),
  mutant("a page that was moved, onto a node", (p) => unplaced(p, true), /MERGE-4/, [
    MERGE,
    "  if (treeOfFrame(memory, pfn) !== treeOfItem(memory, slot)) return CHANGED;\n  // One hash",
    "  if (pfn < 0) return CHANGED;\n  // One hash",
  ]),
  mutant("a page that was moved, with another", (p) => unplaced(p, false), /MERGE-4/, [
    MERGE,
    "  if (treeOfFrame(memory, pfn) !== treeOfItem(memory, slot)) return CHANGED;\n  return",
    "  if (pfn < 0) return CHANGED;\n  return",
  ]),
  mutant("with a page that was moved (H21)", (p) => pairs(p, 0), /MERGE-4/, [
    MERGE,
    "  if (treeOfFrame(memory, target) !== tree) return STALE;\n",
    "",
  ]),
  mutant("pages that wait keep the tree of another knob (H27)", switched, /MOVED-1|OUTCOME/, [
    "ksm/control",
    "  if (across) replantItems(shard);\n",
    "",
  ]),
]);

mustFail("noticing a move", BOUNDS, [
  mutant("a page is not marked", movesAway, /STABLE-5/, ["migrate/migrate", MARK, ""]),
  mutant(
    "marked before the node names its new frame",
    movesAway,
    /STABLE-5/,
    ["migrate/migrate", MARK, ""],
    [
      "migrate/migrate",
      "      addPlace(batch, guest, slot",
      "      markMoved(memory, slot);\n      addPlace(batch, guest, slot",
    ],
  ),
  mutant(
    "marks read and then cleared",
    waiting,
    /MOVED-1/,
    ["mm/moved", "exchangeWord, loadWord, orWord", "loadWord, orWord, storeWord"],
    [
      "mm/moved",
      "  return exchangeWord(memory.control, word, 0);",
      "  const marks = loadWord(memory.control, word);\n  storeWord(memory.control, word, 0);\n  return marks;",
    ],
  ),
  mutant("an entry taken for the frame that it names", waiting, /MOVED-1/, [
    "ksm/tree",
    "return pteIsPresent(pte) && nodeOf",
    "return nodeOf",
  ]),
]);

mustFail("re-placement", BOUNDS, [
  mutant(
    "without the page lock",
    (p) => besideTwin(p, 0),
    /RMAP-1|LIMBO-1|PTE-3/,
    [REPLACE, "settled = trylockPage(memory, pfn);", "settled = true;"],
    [REPLACE, "      unlockPage(memory, pfn);\n", ""],
  ),
  mutant(
    "without the page lock of the equal node",
    (p) => ontoTwin(p, null, null),
    /RMAP-1/,
    [REPLACE, " || !trylockPage(memory, target)) {", ") {"],
    [REPLACE, "  unlockPage(memory, target);\n", ""],
  ),
  mutant("onto an equal node that has moved away", (p) => ontoTwin(p, 1, null), /MERGE-4/, [
    REPLACE,
    "treeOfFrame(memory, target) !== tree || !trylock",
    "!trylock",
  ]),
  mutant("the target's mapcount raised late (O7)", (p) => ontoTwin(p, null, null), /REF-4/, [
    REPLACE,
    "  addMapping(memory, target);\n  if (!casPte",
    "  if (!casPte",
  ]),
  mutant("the old frame freed at once", readAway, /PTE-1/, [
    REPLACE,
    "  pushLimbo(memory, guest, pfn);\n",
    "  putPage(memory, pfn);\n",
  ]),
  mutant("merged away with more than one page", (p) => besideTwin(p, 1), /LIMBO-1|STABLE/, [
    REPLACE,
    "hasRoom(memory, twin) && mapcount(memory, node.pfn) <= 1",
    "hasRoom(memory, twin)",
  ]),
]);

mustFail("what is frozen", BOUNDS, [
  mutant("a frozen node taken for another content", besideFull, /SETTLED/, [
    "ksm/sharers",
    "if (other === KEYHOLE_BUSY) return NODE_BUSY;",
    "if (other === KEYHOLE_BUSY) return NODE_DIFFERS;",
  ]),
  mutant("a command that does not wait for it", region, /UNMERGE: outcome 3/, [
    "ksm/sharers",
    "    if (wait) awaitFreeze(memory, stable);\n",
    "",
  ]),
]);

mustFail("a look at a node", WIDE, [
  mutant("a look that knows a frame by its number (H24)", peeked, /H24/, [
    "ksm/peek",
    "return readKpfn(memory, stable) === kpfn;",
    "return true;",
  ]),
]);
