/**
 * Question: does the walk from a frame visit every pte that maps it: those of a family, those of the sharers
 * of a stable node, and those of clones that ksmd has not seen; and does a guest that joins a family while
 * others join or a walk goes on ever get lost?
 * Threads: none for the lists; two guests that join, and a walker. Bounds: 3 preemptions.
 */
import { beforeAll, describe, expect, it } from "vitest";
import type { Scenario } from "./explorer.js";
import { loadProduction, type Production } from "./loader.js";
import { ghost, TinyMachine } from "./machine.js";
import { lines, mustFail, mustHold, mutant } from "./mutants.js";

const BOUNDS = { preemptions: 3 };
const NODE = 1;

/** The slots that a walk visits, sorted. */
function visited(machine: TinyMachine, pfn: number): number[] {
  const slots: number[] = [];
  machine.production.rmap.walkMappings(machine.memory, pfn, (guest, slot, pte) => {
    expect(machine.production.layout.ptePfn(pte)).toBe(pfn);
    expect(slot >>> 9).toBe(guest);
    slots.push(slot);
    return true;
  });
  return slots.sort((a, b) => a - b);
}

/** The sharers of the node, and that each knows the one before it. */
function sharers(machine: TinyMachine): number[] {
  const { layout, rmap } = machine.production;
  const slots: number[] = [];
  let previous = 0;
  for (let slot = rmap.firstSharer(machine.memory, NODE); slot >= 0; ) {
    slots.push(slot);
    const before = machine.memory.control[rmap.itemWord(machine.memory, slot) + layout.ITEM_PREV];
    expect(before).toBe(previous);
    previous = slot + 1;
    slot = rmap.nextSharer(machine.memory, slot);
  }
  return slots;
}

/** Maps a shared frame at one more page, as a clone of a sharer does: the page has no item. */
function mapAlso(machine: TinyMachine, pfn: number, guest: number, gfn: number, pte: number): void {
  const { pageRef, pte: ptes } = machine.production;
  const { memory } = machine;
  const { control, layout } = memory;
  pageRef.getPage(memory, pfn);
  pageRef.addMapping(memory, pfn);
  const { ENGINE_KSM_PTES, PTE_MERGED } = machine.production.layout;
  const counts = layout.engine + ENGINE_KSM_PTES;
  if ((pte & PTE_MERGED) === 0) ptes.casPte(memory, machine.slot(guest, gfn), 0, pte);
  else {
    control[layout.ptes + machine.slot(guest, gfn)] = pte;
    control[counts] = (control[counts] as number) + 1;
  }
}

describe("rmap", () => {
  let production: Production;
  beforeAll(async () => {
    production = await loadProduction();
  });

  it("visits both guests of a family that map an anonymous frame, and no other", () => {
    const machine = new TinyMachine(production, { guests: [2, 2, 2] });
    production.guest.joinFamily(machine.memory, 1, 0);
    const pfn = machine.share([[0, 1]], [5, 6], -1);
    mapAlso(machine, pfn, 1, 1, machine.pte(0, 1));
    machine.populate(2, 1, [5, 6]);
    machine.populate(1, 0, [5, 6]);
    expect(visited(machine, pfn)).toEqual([machine.slot(0, 1), machine.slot(1, 1)]);
    machine.checkCounts();
  });

  it("passes over guests of the family that are too small or have an entry there", () => {
    const machine = new TinyMachine(production, { guests: [2, 1, 2] });
    production.guest.joinFamily(machine.memory, 1, 0);
    production.guest.joinFamily(machine.memory, 2, 0);
    const pfn = machine.share([[0, 1]], [5, 6], -1);
    const entry = production.pte.entryFor(machine.pte(0, 1));
    machine.memory.control[machine.memory.layout.ptes + machine.slot(2, 1)] = entry;
    expect(visited(machine, pfn)).toEqual([machine.slot(0, 1)]);
  });

  it("visits the sharers of a KSM frame in several guests, and a clone without an item", () => {
    const machine = new TinyMachine(production, { guests: [2, 2, 2] });
    production.guest.joinFamily(machine.memory, 2, 1);
    const pages = [
      [0, 0],
      [0, 1],
      [1, 1],
    ] as const;
    const pfn = machine.share(pages, [5, 6], NODE);
    mapAlso(machine, pfn, 2, 1, machine.pte(1, 1));
    const slots = [...pages, [2, 1] as const].map(([guest, gfn]) => machine.slot(guest, gfn));
    expect(visited(machine, pfn)).toEqual(slots);
    machine.checkCounts();
  });

  it("ends when the visitor says so", () => {
    const machine = new TinyMachine(production, { guests: [2, 2] });
    const pages = [
      [0, 0],
      [0, 1],
      [1, 1],
    ] as const;
    const pfn = machine.share(pages, [5, 6], NODE);
    let count = 0;
    production.rmap.walkMappings(machine.memory, pfn, () => ++count < 2);
    expect(count).toBe(2);
  });

  it("visits nothing for a frame of nobody", () => {
    const machine = new TinyMachine(production);
    expect(visited(machine, 0)).toEqual([]);
  });

  it("links at the head, and unlinks there, in the middle and at the tail", () => {
    const { memory, ...machine } = new TinyMachine(production, { guests: [4] });
    const list = () => sharers({ memory, ...machine } as TinyMachine);
    const { linkSharer, unlinkSharer } = production.rmap;
    for (const removed of [0, 1, 2, 3]) {
      for (const slot of [0, 1, 2, 3]) linkSharer(memory, NODE, slot);
      expect(list()).toEqual([3, 2, 1, 0]);
      unlinkSharer(memory, NODE, removed);
      expect(list()).toEqual([3, 2, 1, 0].filter((slot) => slot !== removed));
      linkSharer(memory, NODE, removed);
      expect(list()[0]).toBe(removed);
      for (const slot of list()) unlinkSharer(memory, NODE, slot);
      expect(list()).toEqual([]);
    }
  });
});

/** Two guests join a family and then map its frame, while somebody walks: whoever has mapped it is visited. */
function joins(production: Production): Scenario {
  const machine = new TinyMachine(production, { guests: [1, 1, 1], threads: 4 });
  const pfn = machine.share([[0, 0]], [5, 6], -1);
  const pte = machine.pte(0, 0);
  const { guest, pageRef, pte: ptes, rmap } = production;
  const joiner = (id: number) => () => {
    const memory = machine.view(id);
    guest.joinFamily(memory, id, 0);
    pageRef.tryGetPage(memory, pfn);
    pageRef.addMapping(memory, pfn);
    ptes.casPte(memory, machine.slot(id, 0), 0, pte);
    ghost(() => {
      machine.wrote(id, 0, 0, 5);
      machine.wrote(id, 0, 1, 6);
    });
  };
  const expectAll = (slots: readonly number[], wanted: readonly number[]) => {
    const missed = wanted.filter((id) => !slots.includes(machine.slot(id, 0)));
    if (missed.length > 0) throw new Error(`RMAP-2: guest ${missed} was not visited`);
  };
  const walk = (wanted: () => number[]) => {
    const before = wanted();
    const slots: number[] = [];
    rmap.walkMappings(machine.memory, pfn, (_guest, slot) => slots.push(slot) > 0);
    expectAll(slots, before);
  };
  const walker = () => {
    const before: number[] = [];
    for (const id of [0, 1, 2]) {
      if (ptes.readPte(machine.memory, machine.slot(id, 0)) !== 0) before.push(id);
    }
    walk(() => before);
  };
  return machine.scenario({ first: joiner(1), second: joiner(2), walker }, () => {
    machine.checkCounts();
    walk(() => [0, 1, 2]);
  });
}

describe("rmap of a family that grows", () => {
  mustHold("two guests join while somebody walks", joins, BOUNDS);
});

const GUEST = "mm/guest";
const LINK = "    plainStore(control, guestWord(memory, guest) + GUEST_FAMILY_NEXT, next);\n";
const CAS = "if (casWord(control, head, next, guest + 1) === next) return;";

mustFail("rmap", BOUNDS, [
  mutant("joined by load and store: one of two is lost", joins, /RMAP-2/, [
    GUEST,
    CAS,
    "storeWord(control, head, guest + 1); return;",
  ]),
  mutant(
    "on the list before it knows the rest of the list",
    joins,
    /RMAP-2/,
    [GUEST, LINK, ""],
    [
      GUEST,
      CAS,
      lines(
        "if (casWord(control, head, next, guest + 1) !== next) continue;",
        "storeWord(control, guestWord(memory, guest) + GUEST_FAMILY_NEXT, next);",
        "return;",
      ),
    ],
  ),
  mutant("a walk of the first of the family alone (H79)", joins, /RMAP-2/, [
    "mm/rmap",
    "for (let guest = family; guest !== NONE; guest = nextInFamily(memory, guest)) {",
    "for (let guest = family; guest === family; guest = NONE) {",
  ]),
  mutant("a walk that ends at a guest whose pte is another", joins, /RMAP-2/, [
    "mm/rmap",
    "if (pte === PTE_NONE || !pteIsPresent(pte) || ptePfn(pte) !== pfn) continue;",
    "if (pte === PTE_NONE || !pteIsPresent(pte) || ptePfn(pte) !== pfn) return true;",
  ]),
]);
