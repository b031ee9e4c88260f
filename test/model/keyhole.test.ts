/**
 * Question: does a look-up through the keyhole give the node's frame, held, or say stale only of a node
 * whose frame is gone?
 * Threads: one or two look-ups, and one of: the last sharer that leaves, somebody who reuses the frame, a
 * migrator that moves it to the other node, or there and back. Frames: 2 or 4. Bounds: 3 preemptions; a frozen frame is
 * tried twice.
 */
import { describe, expect, it } from "vitest";
import type { Scenario } from "./explorer.js";
import { type Edit, loadProduction, type Production } from "./loader.js";
import { expectSafe, Ghosts, ghost, TinyMachine } from "./machine.js";
import { Migrators } from "./migrator.js";
import { type Build, edit, lines, mustFail, mustHold, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 3 };
const NODE = 1;

/** Stable node 1 has the only frame in use; page 0 of guest 0 is its last sharer. */
class Keyhole extends TinyMachine {
  readonly frame: number;
  readonly keyed: number;
  private readonly migrators = new Migrators(this);
  /** Ghost: the node's number has a frame of a later generation. */
  private readonly replaced = new Ghosts(1);
  /** Ghost: what the last look-up gave, + 3. */
  private readonly found = new Ghosts(1);

  constructor(production: Production, framesShift = 0) {
    super(production, { framesShift, nodes: 2, guests: [1, 1], vcpus: [0, 1] });
    this.frame = this.share([[0, 0]], [5, 6], NODE);
    this.keyed = this.key(NODE);
  }

  /** A frame with the node's key that somebody holds, or a migrator. */
  private isLive(): boolean {
    const { base, pageMapping, pageRef } = this.production;
    if (this.replaced.get(0) === 1) return false;
    for (let pfn = 0; pfn < base.framesEnd(this.memory); pfn++) {
      if (pageMapping.readMapping(this.memory, pfn) !== this.keyed) continue;
      if (pageRef.pageRef(this.memory, pfn) !== 0) return true;
    }
    return false;
  }

  private expectOurs(pfn: number): void {
    const { frames, pageMapping, pageRef } = this.production;
    const mapping = pageMapping.readMapping(this.memory, pfn);
    if (mapping !== this.keyed) throw new Error(`KEY-1: found frame ${pfn} of ${mapping}`);
    if (this.replaced.get(0) === 1) throw new Error("KEY-1: found a later generation");
    if (pageRef.pageRef(this.memory, pfn) <= 0) throw new Error(`KEY-1: frame ${pfn} is not held`);
    if (frames.frameIsFree(this.memory, pfn)) throw new Error(`KEY-1: frame ${pfn} is free`);
  }

  lookUp = () => {
    const { frames, keyhole } = this.production;
    const pfn = keyhole.getStableFrame(this.memory, NODE, this.keyed);
    ghost(() => {
      this.found.set(0, pfn + 3);
      if (pfn === keyhole.KEYHOLE_STALE && this.isLive()) throw new Error("KEY-2: live, and stale");
      if (pfn >= 0) this.expectOurs(pfn);
    });
    if (pfn < 0) return;
    ghost(() => this.expectOurs(pfn));
    frames.putPage(this.memory, pfn);
  };

  /** What a look-up gave, and the node's frame and how often it moved, as the words say. */
  end(): string {
    const { keyhole, layout } = this.production;
    const kpfn = this.memory.control[keyhole.stableWord(this.memory, NODE) + layout.STABLE_KPFN];
    const frame = keyhole.namedFrame(this.memory, NODE);
    return `found ${this.found.get(0) - 3}, frame ${frame}, kpfn ${kpfn}`;
  }

  /** The last sharer writes: the frame is freed. */
  leave = () => this.vcpu(this.view(1), 0, "leave").store(0, 0, 11);

  /** The frame, free, becomes a frame of stable node `stable` of this generation. */
  become(stable: number, generation: number): void {
    const { frames, keyhole, pageMapping } = this.production;
    const pfn = frames.allocFrame(this.memory, 0, 1, 0);
    if (pfn < 0) return;
    ghost(() => this.replaced.set(0, stable === NODE ? 1 : 0));
    keyhole.nameFrame(this.memory, stable, pfn);
    pageMapping.setKsmMapping(this.memory, pfn, this.key(stable, generation));
    frames.putPage(this.memory, pfn);
  }

  /** Moves the node's frame to the other node. */
  move(): void {
    const memory = this.view(2);
    this.migrators.moveAway(memory, this.production.keyhole.namedFrame(memory, NODE));
  }

  against(threads: Scenario["threads"]): Scenario {
    return this.scenario({ lookUp: this.lookUp, ...threads });
  }
}

const leaves: Build = (production) => {
  const machine = new Keyhole(production);
  return machine.against({ leave: machine.leave });
};

/** Freed, and a page of another guest at once. */
const anonymous: Build = (production) => {
  const machine = new Keyhole(production);
  return machine.against({
    leave: () => {
      machine.leave();
      machine.vcpu(machine.view(1), 1, "leave").tryStore(0, 0, 12);
    },
  });
};

const becomes =
  (stable: number): Build =>
  (production) => {
    const machine = new Keyhole(production);
    return machine.against({
      leave: () => {
        machine.leave();
        machine.become(stable, 2);
      },
    });
  };

const moves =
  (times: number, lookUps = 1): Build =>
  (production) => {
    const machine = new Keyhole(production);
    const second = lookUps === 1 ? {} : { second: machine.lookUp };
    return machine.against({
      ...second,
      migrator: () => {
        for (let time = 0; time < times; time++) machine.move();
      },
    });
  };

/** The last sharer leaves while the frame moves. */
const leavesAndMoves: Build = (production) => {
  const machine = new Keyhole(production, 1);
  return machine.against({ leave: machine.leave, migrator: () => machine.move() });
};

describe("keyhole", () => {
  mustHold("the last sharer leaves", leaves, BOUNDS);
  mustHold("the frame is reused by a guest (H2)", anonymous, BOUNDS);
  mustHold("the frame is reused by another node", becomes(2), BOUNDS);
  mustHold("the frame is reused by the node's number, a generation later", becomes(NODE), BOUNDS);
  mustHold("the frame moves (H3)", moves(1), BOUNDS);
  mustHold("the frame moves there and back", moves(2), BOUNDS);
  mustHold("two look-ups, and the frame moves", moves(1, 2), { preemptions: 2 });
  mustHold("the last sharer leaves while the frame moves", leavesAndMoves, { preemptions: 2 });
});

const KEYHOLE = "mm/keyhole";
const SET = "  setKsmMapping(memory, target, key);\n";
const CLEAR = "  clearMapping(memory, old);\n";
const MIGRATIONS = "  const migrations = readKpfn(memory, stable) + 1;\n";

// The first check of the key cannot be caught: the second repeats it, and a frame that is not the node's costs
// no more than a reference taken and put, or BUSY for a stranger's freeze. Nor can the old frame's key left
// standing by moveStableFrame: the migrator frees the frame next, which clears it.
mustFail("keyhole", BOUNDS, [
  mutant("the key not checked again under the reference (H2)", anonymous, /KEY-1/, [
    KEYHOLE,
    "if (readMapping(memory, pfn) === key) return pfn;",
    "return pfn;",
  ]),
  mutant(
    "the key not checked at all",
    becomes(2),
    /KEY-1/,
    [KEYHOLE, "if (readMapping(memory, pfn) === key) return pfn;", "return pfn;"],
    [KEYHOLE, "if (readMapping(memory, pfn) === key) {", "if (pfn >= 0) {"],
  ),
  mutant("a foreign frame's reference kept", anonymous, /REF-1/, [
    KEYHOLE,
    "        putPage(memory, pfn);\n",
    "",
  ]),
  mutant("kpfn not read again (H3)", moves(1), /KEY-2/, [
    KEYHOLE,
    "if (readKpfn(memory, stable) === kpfn) return KEYHOLE_STALE;",
    "return KEYHOLE_STALE;",
  ]),
  mutant("kpfn compared without its count (4a)", moves(2), /KEY-2/, [
    KEYHOLE,
    "if (readKpfn(memory, stable) === kpfn) return KEYHOLE_STALE;",
    "if (kpfnPfn(readKpfn(memory, stable)) === pfn) return KEYHOLE_STALE;",
  ]),
  mutant("a move that does not count", moves(2), /KEY-2/, [
    KEYHOLE,
    "makeKpfn(target, migrations)",
    "makeKpfn(target, migrations & 0)",
  ]),
  mutant("frozen taken for gone (H7)", moves(1), /KEY-2/, [
    KEYHOLE,
    "if (--tries === 0) return KEYHOLE_BUSY;\n        continue;",
    "return KEYHOLE_STALE;",
  ]),
  mutant("the generation left out of the key", becomes(NODE), /KEY-1/, [
    "base/layout",
    "((generation & GENERATION_MASK) << MAPPING_GENERATION_SHIFT) |",
    "((generation & 0) << MAPPING_GENERATION_SHIFT) |",
  ]),
  mutant(
    "the old key cleared first (H4)",
    moves(1),
    /KEY-2/,
    [KEYHOLE, CLEAR, ""],
    [KEYHOLE, SET, CLEAR + SET],
  ),
  mutant(
    "the old key cleared before kpfn flips (H4)",
    moves(1),
    /KEY-2/,
    [KEYHOLE, CLEAR, ""],
    [KEYHOLE, SET, SET + CLEAR],
  ),
  mutant(
    "the new key set after kpfn flips (H5)",
    moves(1),
    /KEY-2/,
    [KEYHOLE, SET, ""],
    [KEYHOLE, CLEAR, SET + CLEAR],
  ),
  mutant(
    "the new key set last",
    moves(1),
    /KEY-2/,
    [KEYHOLE, SET, ""],
    [KEYHOLE, CLEAR, CLEAR + SET],
  ),
  mutant(
    "kpfn flipped first",
    moves(1),
    /KEY-2/,
    [KEYHOLE, SET, ""],
    [KEYHOLE, MIGRATIONS, MIGRATIONS],
    [KEYHOLE, CLEAR, CLEAR + SET],
  ),
]);

/** The kernel's step after a match (O4): lock and unlock the frame, and look at the key once more. */
const LOCKED: readonly Edit[] = [
  edit(
    KEYHOLE,
    "        if (readMapping(memory, pfn) === key) return pfn;\n",
    lines(
      "        if (readMapping(memory, pfn) === key) {",
      "          lockPage(memory, pfn);",
      "          unlockPage(memory, pfn);",
      "          if (readMapping(memory, pfn) === key) return pfn;",
      "        }",
      "",
    ),
  ),
  edit(
    KEYHOLE,
    'import { putPage } from "./frames.js";\n',
    lines(
      'import { putPage } from "./frames.js";',
      'import { lockPage, unlockPage } from "./page-lock.js";',
      "",
    ),
  ),
];

/** A migrator that looks at the count, and leaves the frame to whoever got it meanwhile. */
const COUNTED: readonly Edit[] = [
  edit(
    "migrate/migrate",
    "return freezePage(memory, old, 1) ? MIGRATED : MIGRATE_PINNED;",
    "return pageRef(memory, old) === 1 ? MIGRATED : MIGRATE_PINNED;",
  ),
  edit("migrate/migrate", "  mapcount,\n  REF_FROZEN,", "  mapcount,\n  pageRef,\n  REF_FROZEN,"),
  edit(
    "migrate/migrate",
    "    unfreezePage(memory, old, 0);\n    freeFrame(memory, old);\n",
    "    putPage(memory, old);\n",
  ),
];

/** A look-up and a migrator, or two moves of one; every way in which they can end. */
async function endsOf(times: number, ...edits: readonly Edit[]): Promise<string[]> {
  const production = await loadProduction(...edits);
  const machine = new Keyhole(production);
  const seen = new Set<string>();
  const threads = {
    migrator: () => {
      for (let time = 0; time < times; time++) machine.move();
    },
  };
  const scenario = machine.against(threads);
  const check = () => {
    scenario.check();
    seen.add(machine.end());
  };
  expectSafe({ ...scenario, check }, BOUNDS);
  return [...seen].sort();
}

describe("the kernel's lock-and-unlock after a match (O4)", () => {
  it("changes nothing where the migrator freezes: what can come of it is the same without", async () => {
    // All that differs is why a frame was not moved: it was locked, not pinned.
    const ends = await endsOf(1);
    expect(ends.map((end) => end.replace(/, kpfn.*/, ""))).toEqual([
      "found -2, frame 1",
      "found 0, frame 0",
      "found 0, frame 1",
      "found 1, frame 1",
    ]);
    expect(await endsOf(1, ...LOCKED)).toEqual(ends);
    expect(await endsOf(2, ...LOCKED)).toEqual(await endsOf(2));
  });

  mustHold(
    "keeps what was found where the migrator only counts",
    moves(2),
    BOUNDS,
    ...LOCKED,
    ...COUNTED,
  );
});

mustFail("where the migrator only counts", BOUNDS, [
  { name: "a look-up without it", edits: COUNTED, build: moves(1), what: /KEY-1/ },
]);
