/**
 * Question: does an unmerge, of everything or of a region, leave a merged page behind when migrators are at work on
 * its frames, between their two walks above all (H31); is a guest that appears meanwhile reached (H29); and is what
 * fails for want of a frame whole, told, and done when it is asked for again (H34, H40)?
 * Threads: ksmd (run = 2, or a region), a migrator or two, and a guest that appears, or somebody with a frame.
 * Two nodes of 2 or 4 frames.
 * Bounds: 2 preemptions; 3 for a region and one migrator, 1 for run = 2 when frames are scarce.
 */
import { describe, expect, it } from "vitest";
import { explorer, type Scenario, type Step } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import { loadProduction, type Production } from "./loader.js";
import { expectSafe, ghost, type TinyOptions } from "./machine.js";
import { Migrators, mustMove, type Watched } from "./migrator.js";
import { lines, mustFail, mutant } from "./mutants.js";
import * as seam from "./seam.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };

/** Pages of one content, merged; guests live on nodes 0 and 1 by turns. */
class Unmerging extends KsmMachine {
  readonly migrators = new Migrators(this);

  constructor(
    production: Production,
    private readonly merged: readonly (readonly [number, number])[],
    options: TinyOptions = {},
  ) {
    super(production, { framesShift: 2, nodes: 2, ...options });
    for (const [guest, gfn] of merged) this.populate(guest, gfn, [7, 8]);
    for (const _ of [1, 2]) this.pass();
    for (const page of merged) {
      if (!this.isMerged(...page)) throw new Error(`page ${page} is not merged`);
    }
  }

  isMerged(guest: number, gfn: number): boolean {
    return (this.pte(guest, gfn) & this.production.layout.PTE_MERGED) !== 0;
  }

  isMergeable(guest: number, gfn: number): boolean {
    const slot = this.slot(guest, gfn);
    const word = this.memory.layout.mergeable + (slot >>> 5);
    return ((this.memory.control[word] as number) & (1 << (slot & 31))) !== 0;
  }

  /** Moves the frame of the merged pages to the other node, and the frame that they are in then back. */
  migrator(id = 4, times = 1): () => void {
    const { layout, pte } = this.production;
    return () => {
      const memory = this.view(id);
      for (let time = 0; time < times; time++) {
        const [guest, gfn] = this.merged.at(-1) as [number, number];
        const pfn = layout.ptePfn(pte.readPte(memory, this.slot(guest, gfn)));
        this.migrators.moveAway(memory, pfn);
      }
    };
  }

  /** run = 2; at the moment that it ends, nothing is merged, and counted as such. */
  everything(): void {
    this.production.control.setKnobs(this.shard, { run: 2 });
    ghost(() => this.expectNoneMerged());
  }

  /** The first pages of the guest; at the moment that it ends they are private, and may not be merged. */
  region(guest: number, pages: number): void {
    const outcome = this.production.lifecycle.makeUnmergeable(this.shard, guest, 0, pages);
    ghost(() => {
      for (let gfn = 0; gfn < pages; gfn++) {
        if (outcome !== 0 && !this.isMergeable(guest, gfn)) {
          throw new Error(`LIFE-1: given up, and page ${gfn} is not mergeable`);
        }
        if (outcome === 0 && this.isMerged(guest, gfn)) {
          throw new Error(`UNMERGE-1: page ${gfn} left merged`);
        }
        if (outcome === 0 && this.isMergeable(guest, gfn)) {
          throw new Error(`LIFE-1: page ${gfn} is mergeable`);
        }
      }
    });
    if (outcome !== 0) throw this.production.control.unmergeError(outcome);
  }

  expectNoneMerged(): void {
    const { ksm_ptes, pages_shared, pages_sharing } = this.counters;
    if (ksm_ptes + pages_shared + pages_sharing !== 0) {
      throw new Error(`UNMERGE-1: ${ksm_ptes} ptes left merged, ${pages_shared} frames`);
    }
    for (const page of this.pages) {
      if (this.isMerged(...page)) throw new Error(`UNMERGE-1: page ${page} left merged`);
    }
  }

  /** The scenario, in which a page that may not be merged never is (H34). */
  unmerging(threads: Scenario["threads"], legal: readonly string[], check = () => {}): Watched {
    const scenario = this.ksmScenario(threads, check);
    const observe = (step: Step) => {
      scenario.observe?.(step);
      if (step.thread !== "ksmd" || step.words !== this.memory.control) return;
      for (const page of this.merged) {
        if (this.isMerged(...page) && !this.isMergeable(...page)) {
          throw new Error(`LIFE-1: page ${page} is merged, and not mergeable`);
        }
      }
    };
    return this.migrators.watch({ ...scenario, observe }, ...legal);
  }
}

const PAIR = [
  [0, 0],
  [1, 0],
] as const;

const THREE = [
  [0, 0],
  [0, 1],
  [1, 0],
] as const;

/** run = 2 while the frame goes to the other node and comes back. */
function thereAndBack(production: Production): Watched {
  const machine = new Unmerging(production, PAIR, { guests: [1, 1] });
  const threads = { ksmd: () => machine.everything(), migrator: machine.migrator(4, 2) };
  return machine.unmerging(
    threads,
    [
      "migrated 2",
      "migrated 1, pinned 1",
      "migrated 1, busy 1",
      "migrated 1, raced 1",
      "pinned 2",
      "pinned 1, raced 1",
      "raced 2",
    ],
    () => machine.expectNoneMerged(),
  );
}

/** A page of two is unmerged while two migrators want their frame. */
function twoMigrators(production: Production): Watched {
  const machine = new Unmerging(production, PAIR, { guests: [1, 1] });
  const threads = {
    ksmd: () => machine.region(0, 1),
    migrator1: machine.migrator(3),
    migrator2: machine.migrator(4),
  };
  return machine.unmerging(threads, [
    "migrated 2",
    "migrated 1, pinned 1",
    "migrated 1, busy 1",
    "migrated 1, raced 1",
    "pinned 2",
    "pinned 1, busy 1",
    "pinned 1, raced 1",
    "busy 1, raced 1",
    "busy 2",
    "raced 2",
  ]);
}

/** Two pages of guest 0, which may not be merged from now on; guest 1's page stays as it is. */
function region(production: Production): Watched {
  const machine = new Unmerging(production, THREE, { guests: [2, 1] });
  const threads = {
    ksmd: () => machine.region(0, 2),
    migrator: machine.migrator(),
  };
  return machine.unmerging(threads, ["migrated 1", "pinned 1", "busy 1", "raced 1"], () => {
    if (!machine.isMerged(1, 0)) throw new Error("UNMERGE-1: the other guest's page went with it");
  });
}

/**
 * Guest 2 appears as a clone of guest 1, its page merged if guest 1's is at that moment: then unmerging has not come
 * to an end, and reaches it (H29).
 */
function appears(production: Production): Watched {
  const machine = new Unmerging(production, PAIR, { guests: [1, 1, 1] });
  const { guest, layout } = production;
  const { control, layout: at } = machine.memory;
  guest.joinFamily(machine.memory, 2, 1);
  control[at.engine + layout.ENGINE_GUESTS] = 2;
  const add = (words: Int32Array, index: number, by: number) =>
    explorer.write(words, index, (words[index] as number) + by);
  const clone = () => {
    const pte = machine.pte(1, 0);
    if ((pte & layout.PTE_STATE_MASK) !== layout.PTE_PRESENT || !machine.isMerged(1, 0)) return;
    const { words } = production.base.blockOf(machine.memory, layout.ptePfn(pte));
    const record = production.base.recordWord(machine.memory, layout.ptePfn(pte));
    add(words, record + layout.RECORD_REF, 1);
    add(words, record + layout.RECORD_MAPCOUNT, 1);
    add(control, at.engine + layout.ENGINE_KSM_PTES, 1);
    explorer.write(control, at.ptes + machine.slot(2, 0), pte);
    for (const cell of [0, 1]) machine.wrote(2, 0, cell, machine.lastWritten(1, 0, cell));
    explorer.write(control, at.engine + layout.ENGINE_GUESTS, 3);
  };
  const threads = {
    ksmd: () => machine.everything(),
    cloner: () => ghost(clone),
    migrator: machine.migrator(),
  };
  return machine.unmerging(threads, ["migrated 1", "pinned 1", "busy 1", "raced 1"], () =>
    machine.expectNoneMerged(),
  );
}

/** A word of no use in a model: ksmd waits there for the frame that is given back. */
function givenBack(machine: Unmerging): void {
  const { control, layout } = machine.memory;
  seam.storeWord(control, layout.threads, 1);
  seam.notifyWord(control, layout.threads, 1);
}

function waitForFrame(machine: Unmerging): void {
  const { control, layout } = machine.memory;
  while (seam.loadWord(control, layout.threads) === 0) seam.waitWord(control, layout.threads, 0, 1);
}

/** Code of what it throws, or null. The threads of models catch only what is refused. */
function refusal(action: () => void): string | null {
  try {
    action();
    return null;
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === undefined) throw error;
    return code;
  }
}

/**
 * As many free frames as there are pages to copy, of which somebody has one for a while: unmerging may be refused
 * then, and is done when it is asked for again. What the migrator has meanwhile is waited for.
 */
function scarce(
  machine: Unmerging,
  unmerge: () => void,
  legal: readonly string[],
): Watched & { readonly refused: Set<string> } {
  const refused = new Set<string>();
  const expectWhole = (code: string) => {
    refused.add(code);
    const { run } = machine.production.knobs.readKnobs(machine.memory);
    if (run === 2) throw new Error("UNMERGE-2: run is 2, and pages are merged");
  };
  const { frames } = machine.production;
  const held = frames.allocFrame(machine.memory, 0, 0, 0);
  const threads = {
    ksmd: () => {
      const code = refusal(unmerge);
      if (code === null) return;
      ghost(() => expectWhole(code));
      waitForFrame(machine);
      const again = refusal(unmerge);
      if (again !== null) throw new Error(`UNMERGE-2: asked again, ${again}`);
    },
    migrator: machine.migrator(),
    holder: () => {
      frames.putPage(machine.view(3), held);
      givenBack(machine);
    },
  };
  return Object.assign(machine.unmerging(threads, legal), { refused });
}

function scarceEverything(production: Production) {
  const machine = new Unmerging(production, THREE, { framesShift: 1, guests: [2, 1] });
  const legal = ["migrated 1", "pinned 1", "raced 1", "no_frame 1"];
  return scarce(machine, () => machine.everything(), legal);
}

function scarceRegion(production: Production) {
  const machine = new Unmerging(production, THREE, { framesShift: 1, guests: [2, 2] });
  machine.populate(1, 1, [1, 2]);
  const legal = ["migrated 1", "pinned 1", "busy 1", "raced 1", "no_frame 1"];
  return scarce(machine, () => machine.region(0, 2), legal);
}

describe("unmerge against migrators", () => {
  mustMove("run = 2 while the frame moves there and back", thereAndBack, NARROW);
  mustMove("a region while two migrators want the frame", twoMigrators, NARROW);
  mustMove("a region while the frame moves", region, BOUNDS);
  mustMove("run = 2 while a guest appears, and the frame moves", appears, NARROW);
  for (const [what, build, bounds] of [
    ["run = 2", scarceEverything, { preemptions: 1 }],
    ["a region", scarceRegion, NARROW],
  ] as const) {
    it(`${what} when frames are scarce`, async () => {
      const scenario = build(await loadProduction());
      expectSafe(scenario, bounds);
      expect(scenario.migrators.unseen()).toEqual([]);
      expect([...scenario.refused]).toEqual(["ENOMEM"]);
    });
  }
});

const UNMERGE = "ksm/unmerge";
const NO_FRAME = "    if (outcome !== UNMERGED && count === 0) return outcome;\n";

mustFail("unmerge against migrators", NARROW, [
  // Not on the lock of the frame, but on its count: until it gives up, because the migrator is not let run.
  mutant("a frozen frame tried again and again", region, /again and again/, [
    "ksm/sharers",
    "    if (wait) awaitFreeze(memory, stable);\n",
    "",
  ]),
  mutant(
    "the flag of the first page falls though the second is given up (H34)",
    region,
    /LIFE-1: given up/,
    ["ksm/sharers", "    if (wait) awaitFreeze(memory, stable);\n", ""],
    [
      "ksm/lifecycle",
      "    if (!forgetItem(shard, slot)) return UNMERGE_BUSY;\n",
      lines(
        "    if (!forgetItem(shard, slot)) return UNMERGE_BUSY;",
        "    clearBit(memory, memory.layout.mergeable, slot);",
        "",
      ),
    ],
  ),
  mutant("an entry taken for a page that is not merged (H31)", region, /UNMERGE-1|LIFE-1/, [
    UNMERGE,
    "        else foreign = pte;",
    "        else slot++;",
  ]),
  mutant(
    "merged pages told by the frame's mapping word (H31)",
    thereAndBack,
    /UNMERGE-1|ITEM-|PTE-/,
    [
      UNMERGE,
      "      if ((pte & PTE_MERGED) === 0) {",
      "      if (mappingTag(readMapping(memory, ptePfn(pte))) !== MAPPING_TAG_KSM) {",
    ],
    [
      UNMERGE,
      "import { makePte, PTE_MERGED,",
      lines(
        'import { readMapping } from "../mm/page-mapping.js";',
        "import { MAPPING_TAG_KSM, mappingTag, makePte, PTE_MERGED,",
      ),
    ],
  ),
  mutant("the flag falls before the last page is private (H34)", region, /LIFE-1/, [
    "ksm/lifecycle",
    "  const outcome = unmergeRange(memory, guest, from, to, shard.batch);\n",
    lines(
      "  const first = guestBase(memory, guest) + from;",
      "  clearBit(memory, memory.layout.mergeable, first);",
      "  const outcome = unmergeRange(memory, guest, from, to, shard.batch);",
      "",
    ),
  ]),
  mutant("the flag falls though there was no frame (H34, H40)", scarceRegion, /LIFE-1/, [
    "ksm/lifecycle",
    "  if (outcome !== UNMERGED) return outcome;\n  const base",
    lines(
      "  if (outcome !== UNMERGED) {",
      "    clearBit(memory, memory.layout.mergeable, guestBase(memory, guest) + from);",
      "    return outcome;",
      "  }",
      "  const base",
    ),
  ]),
  mutant("guests counted when it begins (H29)", appears, /UNMERGE-1/, [
    "ksm/lifecycle",
    lines(
      "are reached (H29).",
      "  for (let guest = 0; guest < guestCount(memory); guest++) {",
      "    if (!guestIsLive(memory, guest)) continue;",
      "    const outcome",
    ),
    lines(
      "are not (H29).",
      "  const guests = guestCount(memory);",
      "  for (let guest = 0; guest < guests; guest++) {",
      "    if (!guestIsLive(memory, guest)) continue;",
      "    const outcome",
    ),
  ]),
  mutant("run stays as it was when there was no frame (H40)", scarceEverything, /UNMERGE-2/, [
    "ksm/control",
    "      writeKnobs(memory, { run: RUN_STOP });\n",
    "      writeKnobs(memory, { run: RUN_UNMERGE });\n",
  ]),
  mutant(
    "entries left half-way when there was no frame",
    scarceRegion,
    /PTE-4|deadlock|UNMERGE-2/,
    [UNMERGE, NO_FRAME, ""],
    [
      UNMERGE,
      "    if (!finishCopies(",
      "    if (outcome !== UNMERGED) return outcome;\n    if (!finishCopies(",
    ],
  ),
  mutant("the count of merged ptes lowered before the pte is private (H100)", region, /PTE-5/, [
    "mm/pte",
    "  const entry = exchangeWord(memory.control, index, pte);\n",
    lines(
      "  const merged = (loadWord(memory.control, index) & PTE_MERGED) !== 0 && (pte & PTE_MERGED) === 0;",
      "  if (merged) dropKsmPte(memory);",
      "  const entry = exchangeWord(memory.control, index, pte);",
      "  if (merged) addWord(memory.control, memory.layout.engine + ENGINE_KSM_PTES, 1);",
      "",
    ),
  ]),
]);
