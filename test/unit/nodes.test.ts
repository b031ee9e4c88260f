/**
 * What becomes of merged pages, and of pages that wait, whose frames are moved to another node while
 * merge_across_nodes is 0: a test for each case, with a ksmd that is stopped after any page.
 */
import { afterEach, describe, expect, it } from "vitest";
import { SHARD_MIGRATE_LIST } from "../../src/base/layout.js";
import { type Memory, nodeOf } from "../../src/base/memory.js";
import { createEngine, type Engine, type EngineGuest } from "../../src/index.js";
import { setKnobs } from "../../src/ksm/control.js";
import { readCounters } from "../../src/ksm/counters.js";
import type { Knobs } from "../../src/ksm/knobs.js";
import { scanBatch } from "../../src/ksm/scan.js";
import { createShard, type Shard, shardWord } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { reportMachine } from "../../src/machine/report.js";
import { guestBase } from "../../src/mm/guest.js";
import { trylockPage, unlockPage } from "../../src/mm/page-lock.js";
import { readPte } from "../../src/mm/pte.js";
import { beginSection, createTlb, endSection } from "../../src/mm/tlb.js";
import { openVcpu } from "../../src/mm/vcpu.js";
import { BLOCK, codeOf, PAGE, pfnsOf, scanPasses, viewOf } from "./view.js";

let engine: Engine;
let memory: Memory;
let shard: Shard;
let guests: readonly EngineGuest[];
afterEach(() => engine?.close());

/** Guests of these pages, on these nodes; ksmd merges when it is told to. */
async function start(
  sizes: readonly (readonly [pages: number, node: number])[],
  ksm: Partial<Knobs> = {},
): Promise<void> {
  engine = await createEngine({
    ...{ workers: false, nodes: 2, blockBytes: BLOCK, memoryPerNode: 4 * BLOCK, scanTimeout: 1 },
    ksm: { run: 1, mergeAcrossNodes: 0, ...ksm },
  });
  memory = await viewOf(engine);
  shard = createShard(memory, 0);
  guests = sizes.map(([pages, node]) => engine.createGuest({ bytes: pages * PAGE, node }));
}

/** Fills pages of a guest with the byte. */
function fill(guest: number, from: number, to: number, byte = 7): void {
  guests[guest]?.fill(from * PAGE, (to - from) * PAGE, byte);
}

const pass = (passes = 1): void => scanPasses(shard, passes);

/** The frame of a page. */
function frame(guest: number, page: number): number {
  const pfns = pfnsOf(memory, engine);
  const before = guests.slice(0, guest).reduce((sum, each) => sum + each.bytes / PAGE, 0);
  return pfns[before + page] as number;
}

async function move(pfn: number, to: number): Promise<void> {
  expect(await engine.migrate({ pfns: [pfn], to })).toMatchObject({ succeeded: 1 });
}

/** Whether a node waits on the migrate list. */
const listed = (): boolean => shardWord(shard, SHARD_MIGRATE_LIST) !== 0;

/** shared, sharing, unshared, volatile, chains, dups; the audit is clean, and every page has its byte. */
function counted(byte = 7): number[] {
  expect(checkMachine(shard).problems).toEqual([]);
  for (const guest of guests) {
    const bytes = guest.read(0, guest.bytes);
    for (let at = 0; at < bytes.length; at += PAGE) {
      const written = readPte(memory, guestBase(memory, guest.id) + at / PAGE) !== 0;
      if (written && bytes[at + 1] !== byte) throw new Error(`${guest.name} at ${at}`);
    }
  }
  const { pages_shared, pages_sharing, pages_unshared, pages_volatile, ...more } =
    readCounters(memory);
  expect(pages_shared + pages_sharing).toBe(more.ksm_ptes);
  const { stable_node_chains, stable_node_dups } = more;
  return [
    ...[pages_shared, pages_sharing, pages_unshared, pages_volatile],
    ...[stable_node_chains, stable_node_dups],
  ];
}

describe("a merged frame that was moved", () => {
  it("gets its place when one of its pages is visited; the others find it there (H17, H25)", async () => {
    await start([
      [3, 0],
      [1, 1],
    ]);
    fill(0, 0, 3);
    pass(2);
    await move(frame(0, 0), 1);
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
    pass();
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
    expect(listed()).toBe(false);
    // A page of its new node goes onto it, one of its old node does not.
    fill(1, 0, 1);
    pass(2);
    expect(counted()).toEqual([1, 3, 0, 0, 0, 0]);
    expect(frame(1, 0)).toBe(frame(0, 2));
    expect(nodeOf(memory, frame(0, 0))).toBe(1);
  });

  it("is not merged onto by a page that finds it first: it is listed, and the page waits (H18)", async () => {
    await start([
      [1, 0],
      [2, 0],
    ]);
    fill(1, 0, 2);
    pass(2);
    fill(0, 0, 1);
    pass();
    await move(frame(1, 0), 1);
    scanBatch(shard, 1);
    expect(listed()).toBe(true);
    // On the list it counts, but not as a chain; reports know it as well.
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(reportMachine(shard).histogram).toEqual([
      { copies_min: 1, copies_max: 1, contents: 1, pages: 1 },
      { copies_min: 2, copies_max: 3, contents: 1, pages: 2 },
    ]);
    pass();
    expect(listed()).toBe(false);
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(nodeOf(memory, frame(0, 0))).toBe(0);
    // Moved back, it is given the page that waits.
    await move(frame(1, 0), 0);
    pass(2);
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
    expect(frame(0, 0)).toBe(frame(1, 1));
  });

  it("and whose place is looked for in one batch with a page that finds it, is found by both", async () => {
    await start([[3, 0]]);
    fill(0, 0, 2);
    pass(2);
    fill(0, 2, 3);
    pass();
    await move(frame(0, 0), 1);
    pass();
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(nodeOf(memory, frame(0, 2))).toBe(0);
  });

  it("that came back before it was visited has its place still", async () => {
    await start([[2, 0]]);
    fill(0, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    await move(frame(0, 0), 0);
    pass();
    expect(counted()).toEqual([1, 1, 0, 0, 0, 0]);
    const { pages_compared } = readCounters(memory);
    pass();
    expect(readCounters(memory).pages_compared).toBe(pages_compared);
  });

  it("takes in a page that waited on its new node", async () => {
    await start([
      [2, 0],
      [1, 1],
    ]);
    fill(0, 0, 2);
    fill(1, 0, 1);
    pass(2);
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    await move(frame(0, 0), 1);
    pass();
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
    expect(frame(1, 0)).toBe(frame(0, 0));
  });

  it("is not merged away if it has more than one page: it is a dup (H19, C25)", async () => {
    await start([
      [3, 0],
      [3, 1],
    ]);
    fill(0, 0, 3);
    fill(1, 0, 3);
    pass(2);
    expect(counted()).toEqual([2, 4, 0, 0, 0, 0]);
    await move(frame(0, 0), 1);
    pass();
    expect(counted()).toEqual([2, 4, 0, 0, 1, 2]);
    expect(new Set(pfnsOf(memory, engine)).size).toBe(2);
    expect(reportMachine(shard).histogram).toEqual([
      { copies_min: 4, copies_max: 7, contents: 1, pages: 6 },
    ]);
  });

  it("with one page left goes onto its equal, also if others have left unseen", async () => {
    await start([
      [4, 0],
      [2, 1],
    ]);
    fill(0, 0, 4);
    fill(1, 0, 2);
    pass(2);
    fill(0, 1, 2);
    pass();
    // Two of the four write, of which ksmd knows one; and the last.
    fill(0, 2, 3, 9);
    fill(0, 2, 3, 7);
    fill(0, 3, 4);
    const used = engine.stats().nodes[1]?.used as number;
    await move(frame(0, 0), 1);
    expect(engine.stats().nodes[1]?.used).toBe(used + 1);
    pass();
    expect(frame(0, 0)).toBe(frame(1, 0));
    expect(engine.stats().nodes[1]?.used).toBe(used);
    pass(2);
    // The written pages have found each other again, on node 0.
    expect(counted()).toEqual([2, 4, 0, 0, 0, 0]);
    expect(nodeOf(memory, frame(0, 1))).toBe(0);
  });

  it("with one page left, and its equal full, becomes a dup with room", async () => {
    await start(
      [
        [2, 0],
        [3, 1],
      ],
      { maxPageSharing: 2 },
    );
    fill(0, 0, 2);
    fill(1, 0, 2);
    pass(2);
    fill(0, 1, 2);
    pass();
    await move(frame(0, 0), 1);
    pass();
    expect(counted()).toEqual([2, 1, 1, 0, 1, 2]);
    fill(1, 2, 3);
    pass(2);
    expect(counted()).toEqual([2, 2, 1, 0, 1, 2]);
    expect(frame(1, 2)).toBe(frame(0, 0));
  });

  it("that is full is linked, and not merged onto (H26)", async () => {
    await start(
      [
        [2, 0],
        [3, 1],
      ],
      { maxPageSharing: 2 },
    );
    fill(0, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    pass();
    fill(1, 0, 1);
    pass(2);
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    fill(1, 1, 3);
    pass(2);
    // The second pairs with the one that waited; then it is the third that waits.
    expect(counted()).toEqual([2, 2, 1, 0, 1, 2]);
  });

  it("that is full stands behind a dup with room", async () => {
    await start(
      [
        [2, 0],
        [3, 1],
      ],
      { maxPageSharing: 2 },
    );
    fill(0, 0, 2);
    fill(1, 0, 2);
    pass(2);
    fill(1, 1, 2, 9);
    fill(1, 1, 2);
    guests[1]?.write(PAGE, Uint8Array.of(1));
    pass(2);
    expect(counted()).toEqual([2, 1, 1, 0, 0, 0]);
    await move(frame(0, 0), 1);
    pass();
    expect(counted()).toEqual([2, 1, 1, 0, 1, 2]);
    fill(1, 2, 3);
    pass(2);
    expect(frame(1, 2)).toBe(frame(1, 0));
    expect(counted()).toEqual([2, 2, 1, 0, 1, 2]);
  });

  it("takes the place of its equal, if that was moved as well", async () => {
    await start([
      [2, 0],
      [2, 1],
    ]);
    fill(0, 0, 2);
    fill(1, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    await move(frame(1, 0), 0);
    scanBatch(shard, 1);
    expect(listed()).toBe(true);
    expect(counted()).toEqual([2, 2, 0, 0, 0, 0]);
    pass();
    expect(listed()).toBe(false);
    expect(counted()).toEqual([2, 2, 0, 0, 0, 0]);
    expect([frame(0, 1), frame(1, 1)].map((pfn) => nodeOf(memory, pfn))).toEqual([1, 0]);
  });

  it("leaves the ring of its old node to its dups", async () => {
    await start([[6, 0]], { maxPageSharing: 2 });
    fill(0, 0, 6);
    pass(2);
    expect(counted()).toEqual([3, 3, 0, 0, 1, 3]);
    await move(frame(0, 2), 1);
    pass();
    expect(counted()).toEqual([3, 3, 0, 0, 1, 2]);
    await move(frame(0, 0), 1);
    pass();
    expect(counted()).toEqual([3, 3, 0, 0, 1, 2]);
    await move(frame(0, 4), 1);
    pass();
    expect(counted()).toEqual([3, 3, 0, 0, 1, 3]);
  });

  it("and whose page lock is taken gets its place in a later pass (H11)", async () => {
    await start([[3, 0]]);
    fill(0, 0, 3);
    pass(2);
    await move(frame(0, 0), 1);
    const other = await viewOf(engine);
    const pfn = frame(0, 0);
    expect(trylockPage(other, pfn)).toBe(true);
    pass();
    expect(listed()).toBe(true);
    unlockPage(other, pfn);
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
    pass();
    expect(listed()).toBe(false);
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
  });

  it("waits for its equal's page lock in the same way", async () => {
    await start([
      [2, 0],
      [2, 1],
    ]);
    fill(0, 0, 2);
    fill(1, 0, 2);
    pass(2);
    guests[0]?.write(PAGE, Uint8Array.of(1));
    pass();
    await move(frame(0, 0), 1);
    const other = await viewOf(engine);
    const pfn = frame(1, 0);
    expect(trylockPage(other, pfn)).toBe(true);
    pass();
    expect(listed()).toBe(true);
    expect(frame(0, 0)).not.toBe(pfn);
    unlockPage(other, pfn);
    pass();
    expect(frame(0, 0)).toBe(pfn);
    expect(counted()).toEqual([1, 2, 1, 0, 0, 0]);
  });

  it("and then freed is dropped from the list, though its guests are left out of the pass (H20)", async () => {
    await start([
      [2, 0],
      [1, 0],
    ]);
    fill(0, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    const other = await viewOf(engine);
    const pfn = frame(0, 0);
    trylockPage(other, pfn);
    pass();
    unlockPage(other, pfn);
    expect(listed()).toBe(true);
    fill(0, 0, 2);
    // A vCPU that reaches no safepoint.
    const vcpu = createTlb(other, openVcpu(other, 0));
    beginSection(vcpu);
    pass();
    expect(engine.stats().skippedGuests).toBe(1);
    expect(listed()).toBe(false);
    expect(readCounters(memory)).toMatchObject({ pages_shared: 0, pages_sharing: 0 });
    endSection(vcpu);
    pass(2);
    expect(counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it("and written by its last page is dropped from the list when that is visited", async () => {
    await start([[2, 0]]);
    fill(0, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    const other = await viewOf(engine);
    const pfn = frame(0, 0);
    trylockPage(other, pfn);
    pass();
    unlockPage(other, pfn);
    guests[0]?.write(0, Uint8Array.of(1));
    pass();
    expect(counted()).toEqual([1, 0, 0, 1, 0, 0]);
    guests[0]?.write(PAGE, Uint8Array.of(1));
    pass(2);
    expect(counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });
});

describe("a page that waits and was moved", () => {
  it("is not merged with an equal page of its old node, and goes on at its new one (H21)", async () => {
    await start([
      [1, 0],
      [1, 0],
      [1, 1],
    ]);
    fill(1, 0, 1);
    pass();
    fill(0, 0, 1);
    pass();
    expect(counted()).toEqual([0, 0, 1, 1, 0, 0]);
    await move(frame(1, 0), 1);
    // The page of guest 0 comes first, and finds it where it was.
    scanBatch(shard, 1);
    expect(counted()).toEqual([0, 0, 1, 1, 0, 0]);
    pass();
    expect(counted()).toEqual([0, 0, 2, 0, 0, 0]);
    fill(2, 0, 1);
    pass(2);
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(frame(2, 0)).toBe(frame(1, 0));
  });

  it("stays where it is if it came back", async () => {
    await start([[1, 0]]);
    fill(0, 0, 1);
    pass(2);
    const { pages_hashed } = readCounters(memory);
    await move(frame(0, 0), 1);
    await move(frame(0, 0), 0);
    pass();
    expect(readCounters(memory).pages_hashed).toBe(pages_hashed);
    expect(counted()).toEqual([0, 0, 1, 0, 0, 0]);
  });

  it("is hashed for its new node, once", async () => {
    await start([[1, 0]]);
    fill(0, 0, 1);
    pass(2);
    const { pages_hashed } = readCounters(memory);
    await move(frame(0, 0), 1);
    pass(3);
    expect(readCounters(memory).pages_hashed).toBe(pages_hashed + 1);
  });

  it("while it could not be placed, is placed at its new node", async () => {
    await start([
      [2, 0],
      [1, 1],
    ]);
    fill(0, 0, 2);
    fill(1, 0, 1);
    pass();
    const other = await viewOf(engine);
    // Its equal is locked: it has a trusted hash, and no place.
    const pfn = frame(0, 0);
    trylockPage(other, pfn);
    pass();
    expect(readCounters(memory)).toMatchObject({ pages_unshared: 2, pages_volatile: 1 });
    unlockPage(other, pfn);
    await move(frame(0, 1), 1);
    pass();
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(frame(0, 1)).toBe(frame(1, 0));
  });
});

describe("merge_across_nodes", () => {
  it("1 merges frames wherever they are moved, and looks at no page for it", async () => {
    await start(
      [
        [2, 0],
        [1, 1],
      ],
      { mergeAcrossNodes: 1 },
    );
    fill(0, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    const { pages_hashed, pages_compared } = readCounters(memory);
    pass();
    expect(readCounters(memory)).toMatchObject({ pages_hashed, pages_compared });
    fill(1, 0, 1);
    pass(2);
    expect(counted()).toEqual([1, 2, 0, 0, 0, 0]);
  });

  it("does not change while pages are merged, and then nothing has changed (H41)", async () => {
    await start([
      [2, 0],
      [2, 1],
    ]);
    fill(0, 0, 2);
    fill(1, 0, 1);
    pass(2);
    expect(codeOf(() => setKnobs(shard, { mergeAcrossNodes: 1, pagesToScan: 3 }))).toBe("EBUSY");
    expect(engine.ksm.knobs).toMatchObject({ mergeAcrossNodes: 0, pagesToScan: 100 });
    expect(codeOf(() => setKnobs(shard, { mergeAcrossNodes: 0, pagesToScan: 3 }))).toBe(null);
    expect(counted()).toEqual([1, 1, 1, 0, 0, 0]);
    fill(1, 1, 2);
    pass(2);
    expect(counted()).toEqual([2, 2, 0, 0, 0, 0]);
    setKnobs(shard, { run: 2, mergeAcrossNodes: 1 });
    setKnobs(shard, { run: 1 });
    pass(2);
    expect(counted()).toEqual([1, 3, 0, 0, 0, 0]);
  });

  it("changes back and forth in mid-scan while nothing is merged; what waits is not lost (H27)", async () => {
    await start([
      [1, 0],
      [1, 1],
    ]);
    fill(0, 0, 1);
    fill(1, 0, 1);
    pass(2);
    expect(counted()).toEqual([0, 0, 2, 0, 0, 0]);
    scanBatch(shard, 1);
    setKnobs(shard, { mergeAcrossNodes: 1 });
    expect(counted()).toEqual([0, 0, 0, 2, 0, 0]);
    setKnobs(shard, { mergeAcrossNodes: 0 });
    scanBatch(shard, 1);
    pass(2);
    expect(counted()).toEqual([0, 0, 2, 0, 0, 0]);
    scanBatch(shard, 1);
    setKnobs(shard, { mergeAcrossNodes: 1 });
    pass(2);
    expect(counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it("run = 2 takes nodes off the list too", async () => {
    await start([[2, 0]]);
    fill(0, 0, 2);
    pass(2);
    await move(frame(0, 0), 1);
    const other = await viewOf(engine);
    const pfn = frame(0, 0);
    trylockPage(other, pfn);
    pass();
    unlockPage(other, pfn);
    expect(listed()).toBe(true);
    setKnobs(shard, { run: 2 });
    expect(listed()).toBe(false);
    expect(counted()).toEqual([0, 0, 0, 0, 0, 0]);
  });
});
