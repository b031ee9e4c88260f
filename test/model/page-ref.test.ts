/**
 * Question: does a frame ever have two owners, or a holder after it was freed; and is every frame freed
 * exactly once?
 * Threads: two or three of holder, getter, allocator, freezer. Frames: 1 or 2. Bounds: 3 preemptions.
 */
import { describe, expect, it } from "vitest";
import type { Scenario } from "./explorer.js";
import { loadProduction, type Production } from "./loader.js";
import { Ghosts, ghost, TinyMachine } from "./machine.js";
import { type Build, edit, lines, mustFail, mustHold } from "./mutants.js";

const BOUNDS = { preemptions: 3 };

/** One or two frames, the first of them held once by nobody's page; who holds what is a ghost. */
class Frames extends TinyMachine {
  readonly holders = new Ghosts(4);
  private readonly owners = new Ghosts(4);

  constructor(production: Production, shift: number) {
    super(production, { framesShift: shift, guests: [1] });
    const pfn = production.frames.allocFrame(this.memory, 0, 0, 0);
    this.holders.set(pfn, 1);
    this.owners.set(pfn, 1);
  }

  /** The caller got a reference, and gives it back after a look at the frame. */
  use(pfn: number, owner: boolean): void {
    ghost(() => {
      this.holders.add(pfn, 1);
      if (owner && this.owners.add(pfn, 1) !== 1) throw new Error(`REF-2: ${pfn} has two owners`);
      this.expectHeld(pfn);
    });
    this.put(pfn, owner);
  }

  put(pfn: number, owner: boolean): void {
    ghost(() => {
      this.expectHeld(pfn);
      this.holders.add(pfn, -1);
      if (owner) this.owners.add(pfn, -1);
    });
    this.production.frames.putPage(this.memory, pfn);
  }

  expectHeld(pfn: number): void {
    const { frames, pageRef } = this.production;
    if (frames.frameIsFree(this.memory, pfn)) throw new Error("REF-1: a held frame is free");
    const ref = pageRef.pageRef(this.memory, pfn);
    if (ref > 0 && ref < this.holders.get(pfn)) throw new Error(`REF-1: ref ${ref} is too low`);
  }

  holder = () => this.put(0, true);

  getter = () => {
    const { pageMapping, pageRef } = this.production;
    if (pageRef.tryGetPage(this.memory, 0) !== pageRef.REF_HELD) return;
    if (pageMapping.readMapping(this.memory, 0) === 0) throw new Error("MAP-1: held by nobody");
    this.use(0, false);
  };

  allocator = () => {
    const pfn = this.production.frames.allocFrame(this.memory, 0, 0, 1);
    if (pfn >= 0) this.use(pfn, true);
  };

  run(...names: ("holder" | "getter" | "allocator" | "allocator2")[]): Scenario {
    const bodies = { ...this, allocator2: this.allocator };
    return this.scenario(Object.fromEntries(names.map((name) => [name, bodies[name]])));
  }
}

/** Somebody holds a frame for ever, and moves it once if nobody else does. */
function freezer(production: Production): Scenario {
  const machine = new Frames(production, 0);
  const { memory } = machine;
  const { pageLock, pageMapping, pageRef } = production;
  const threads = {
    freezer: () => {
      pageLock.lockPage(memory, 0);
      if (pageRef.freezePage(memory, 0, 1)) {
        ghost(() => {
          if (machine.holders.get(0) !== 1) throw new Error("REF-3: frozen while held");
        });
        ghost(() => {
          if (machine.holders.get(0) !== 1) throw new Error("REF-3: got while frozen");
        });
        pageMapping.setKsmMapping(memory, 0, machine.key(2));
        pageRef.unfreezePage(memory, 0, 1);
      }
      pageLock.unlockPage(memory, 0);
    },
    getter: machine.getter,
    getter2: machine.getter,
  };
  return machine.scenario(threads, () => machine.checkCounts(new Map([[0, 1]])));
}

/** Of two frames one is given and the other free: whoever takes all finds both if both bits are set. */
function oneIsFree(production: Production): Scenario {
  const machine = new Frames(production, 1);
  const { frames } = production;
  const free = new Ghosts(1);
  const allocator = () => {
    const first = frames.allocFrame(machine.memory, 0, 0, 1);
    ghost(() => free.set(0, frames.frameIsFree(machine.memory, 0) ? 1 : 0));
    const second = frames.allocFrame(machine.memory, 0, 0, 1);
    ghost(() => {
      if (free.get(0) === 1 && second < 0) throw new Error("FREE-2: no frame, though one is free");
    });
    for (const pfn of [first, second]) if (pfn >= 0) frames.putPage(machine.memory, pfn);
  };
  return machine.scenario({ holder: machine.holder, allocator });
}

const all: Build = (production) => new Frames(production, 0).run("holder", "getter", "allocator");
const allocators: Build = (production) =>
  new Frames(production, 0).run("holder", "allocator", "allocator2");

describe("page-ref", () => {
  mustHold("get, last put and reuse: no holder of a free frame, no second owner", all, BOUNDS);
  mustHold("two allocators and one frame: one gets it, when it is given", allocators, BOUNDS);
  mustHold("two getters and a freezer: frozen only when held by nobody else", freezer, BOUNDS);
  mustHold("an allocator finds what is free, whatever the counts say", oneIsFree, BOUNDS);

  it("refuses what is free and what is frozen, and counts exactly", async () => {
    const { frames, pageRef, ...production } = await loadProduction();
    const machine = new TinyMachine({ frames, pageRef, ...production }, { framesShift: 1 });
    const { memory } = machine;
    expect(frames.freeFrames(memory, 0)).toBe(2);
    expect(pageRef.tryGetPage(memory, 0)).toBe(pageRef.REF_GONE);
    expect(frames.allocFrame(memory, 0, 0, 0)).toBe(0);
    expect(pageRef.freezePage(memory, 0, 2)).toBe(false);
    expect(pageRef.freezePage(memory, 0, 1)).toBe(true);
    expect(pageRef.tryGetPage(memory, 0)).toBe(pageRef.REF_FROZEN);
    pageRef.unfreezePage(memory, 0, 1);
    expect(frames.allocFrame(memory, 0, 0, 0)).toBe(1);
    expect(frames.allocFrame(memory, 0, 0, 0)).toBe(-1);
    expect(frames.freeFrames(memory, 0)).toBe(0);
    frames.putPage(memory, 0);
    expect(frames.freeFrames(memory, 0)).toBe(1);
    expect(() => frames.putPage(memory, 0)).toThrow(/REF-1/);
  });
});

mustFail("page-ref", BOUNDS, [
  {
    name: "tryGet that adds without looking again",
    edits: [
      edit(
        "mm/page-ref",
        "if (casWord(words, index, ref, ref + 1) === ref) return REF_HELD;",
        "addWord(words, index, 1); return REF_HELD;",
      ),
    ],
    build: all,
    what: /REF-1|REF-2|MAP-1/,
  },
  {
    name: "tryGet that takes a free frame",
    edits: [edit("mm/page-ref", "if (ref <= 0) return REF_GONE;", "if (ref < 0) return REF_GONE;")],
    build: all,
    what: /REF-1|REF-2|MAP-1/,
  },
  {
    name: "published before it has an owner",
    edits: [
      edit(
        "mm/frames",
        "  ownFrame(memory, pfn, family, gfn);\n  publishPage(memory, pfn);",
        "  publishPage(memory, pfn);\n  ownFrame(memory, pfn, family, gfn);",
      ),
    ],
    build: all,
    what: /MAP-1/,
  },
  {
    name: "the bit set before the mapping is cleared",
    edits: [
      edit("mm/frames", "  clearMapping(memory, pfn);\n", ""),
      edit(
        "mm/frames",
        "  countWord(words, line + BLOCK_FREE, 1);",
        "  clearMapping(memory, pfn);\n  countWord(words, line + BLOCK_FREE, 1);",
      ),
    ],
    build: all,
    what: /MAP-1/,
  },
  {
    name: "a bit taken by a store",
    edits: [
      edit(
        "mm/frames",
        "if (casWord(words, freeBitmap + word, bits, bits & ~bit) !== bits) continue;",
        "racyStore(words, freeBitmap + word, bits & ~bit);",
      ),
    ],
    build: allocators,
    what: /REF-1|REF-2/,
  },
  {
    name: "a bit given by a store",
    edits: [
      edit(
        "mm/frames",
        "orWord(words, freeBitmap + (index >>> 5), 1 << (index & 31));",
        lines(
          "racyStore(words,",
          "freeBitmap + (index >>> 5), loadWord(words, freeBitmap + (index >>> 5)) | (1 << (index & 31)));",
        ),
      ),
    ],
    build: oneIsFree,
    what: /FREE-1|REF-1|REF-2/,
  },
  {
    name: "drop that frees at 2",
    edits: [edit("mm/page-ref", "return before === 1;", "return before === 2;")],
    build: all,
    what: /REF-1|FREE-1/,
  },
  {
    name: "drop in two steps",
    edits: [
      edit(
        "mm/page-ref",
        "const before = addWord(words, recordWord(memory, pfn) + RECORD_REF, -1);",
        lines(
          "const at = recordWord(memory, pfn) + RECORD_REF;",
          "const before = loadWord(words, at);",
          "storeWord(words, at, before - 1);",
        ),
      ),
    ],
    build: all,
    what: /REF-1|FREE-1/,
  },
  {
    name: "freeze that does not count",
    edits: [
      edit(
        "mm/page-ref",
        "return casWord(words, index, expected, FROZEN) === expected;",
        "storeWord(words, index, FROZEN); return expected > 0;",
      ),
    ],
    build: freezer,
    what: /REF-1|REF-3/,
  },
  {
    name: "freeze that counts, then stores",
    edits: [
      edit(
        "mm/page-ref",
        "return casWord(words, index, expected, FROZEN) === expected;",
        lines(
          "if (loadWord(words, index) !== expected) return false;",
          "storeWord(words, index, FROZEN);",
          "return true;",
        ),
      ),
    ],
    build: freezer,
    what: /REF-1|REF-3/,
  },
  {
    name: "tryGet that takes a frozen frame",
    edits: [
      edit(
        "mm/page-ref",
        "if (ref === FROZEN) return REF_FROZEN;\n    if (ref <= 0) return REF_GONE;",
        "if (ref === 0) return REF_GONE;",
      ),
    ],
    build: freezer,
    what: /REF-1|REF-3/,
  },
  {
    name: "no frame reported on the word of the counts",
    edits: [
      edit("mm/frames", "  if (pfn === NONE) pfn = takeFrom(memory, node, true, false);", ""),
    ],
    build: oneIsFree,
    what: /FREE-2/,
  },
]);
