/**
 * merge_across_nodes: what becomes of pages that wait and are moved, what the knob's two values mean, and how it
 * changes; and nodes that move among contents whose hashes collide.
 */
import { afterEach, describe, expect, it } from "vitest";
import { MAPPING_NOBODY } from "../../src/base/layout.js";
import type { Memory } from "../../src/base/memory.js";
import { setKnobs } from "../../src/ksm/control.js";
import { readCounters } from "../../src/ksm/counters.js";
import { scanBatch } from "../../src/ksm/scan.js";
import { putPage } from "../../src/mm/frames.js";
import { trylockPage, unlockPage } from "../../src/mm/page-lock.js";
import { readMapping } from "../../src/mm/page-mapping.js";
import { REF_HELD, tryGetPage } from "../../src/mm/page-ref.js";
import { NodeMachine } from "./node-machine.js";
import { codeOf, viewOf, withOneHash, withOneList } from "./view.js";

let m: NodeMachine;
afterEach(() => m?.engine.close());

describe("a page that waits and was moved", () => {
  it("is not merged with an equal page of its old node, and goes on at its new one (H21)", async () => {
    m = await NodeMachine.start([
      [1, 0],
      [1, 0],
      [1, 1],
    ]);
    m.fill(1, 0, 1);
    m.pass();
    m.fill(0, 0, 1);
    m.pass();
    expect(m.counted()).toEqual([0, 0, 1, 1, 0, 0]);
    await m.move(m.frame(1, 0), 1);
    // The page of guest 0 comes first, and finds it where it was.
    scanBatch(m.shard, 1);
    expect(m.counted()).toEqual([0, 0, 1, 1, 0, 0]);
    m.pass();
    expect(m.counted()).toEqual([0, 0, 2, 0, 0, 0]);
    m.fill(2, 0, 1);
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(m.frame(2, 0)).toBe(m.frame(1, 0));
  });

  it("stays where it is if it came back", async () => {
    m = await NodeMachine.start([[1, 0]]);
    m.fill(0, 0, 1);
    m.pass(2);
    const { pages_hashed } = readCounters(m.memory);
    await m.move(m.frame(0, 0), 1);
    await m.move(m.frame(0, 0), 0);
    m.pass();
    expect(readCounters(m.memory).pages_hashed).toBe(pages_hashed);
    expect(m.counted()).toEqual([0, 0, 1, 0, 0, 0]);
  });

  it("is hashed for its new node, once", async () => {
    m = await NodeMachine.start([[1, 0]]);
    m.fill(0, 0, 1);
    m.pass(2);
    const { pages_hashed } = readCounters(m.memory);
    await m.move(m.frame(0, 0), 1);
    m.pass(3);
    expect(readCounters(m.memory).pages_hashed).toBe(pages_hashed + 1);
  });

  it("while it could not be placed, is placed at its new node", async () => {
    m = await NodeMachine.start([
      [2, 0],
      [1, 1],
    ]);
    m.fill(0, 0, 2);
    m.fill(1, 0, 1);
    m.pass();
    const other = await viewOf(m.engine);
    // Its equal is locked: it has a trusted hash, and no place.
    const pfn = m.frame(0, 0);
    trylockPage(other, pfn);
    m.pass();
    expect(readCounters(m.memory)).toMatchObject({ pages_unshared: 2, pages_volatile: 1 });
    unlockPage(other, pfn);
    await m.move(m.frame(0, 1), 1);
    m.pass();
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(m.frame(0, 1)).toBe(m.frame(1, 0));
  });
});

describe("merge_across_nodes", () => {
  it("1 merges frames wherever they are moved, and looks at no page for it", async () => {
    m = await NodeMachine.start(
      [
        [2, 0],
        [1, 1],
      ],
      { mergeAcrossNodes: 1 },
    );
    m.fill(0, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    const { pages_hashed, pages_compared } = readCounters(m.memory);
    m.pass();
    expect(readCounters(m.memory)).toMatchObject({ pages_hashed, pages_compared });
    m.fill(1, 0, 1);
    m.pass(2);
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
  });

  it("does not change while pages are merged, and then nothing has changed (H41)", async () => {
    m = await NodeMachine.start([
      [2, 0],
      [2, 1],
    ]);
    m.fill(0, 0, 2);
    m.fill(1, 0, 1);
    m.pass(2);
    expect(codeOf(() => setKnobs(m.shard, { mergeAcrossNodes: 1, pagesToScan: 3 }))).toBe("EBUSY");
    expect(m.engine.ksm.knobs).toMatchObject({ mergeAcrossNodes: 0, pagesToScan: 100 });
    expect(codeOf(() => setKnobs(m.shard, { mergeAcrossNodes: 0, pagesToScan: 3 }))).toBe(null);
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    m.fill(1, 1, 2);
    m.pass(2);
    expect(m.counted()).toEqual([2, 2, 0, 0, 0, 0]);
    setKnobs(m.shard, { run: 2, mergeAcrossNodes: 1 });
    setKnobs(m.shard, { run: 1 });
    m.pass(2);
    expect(m.counted()).toEqual([1, 3, 0, 0, 0, 0]);
  });

  it("changes back and forth in mid-scan while nothing is merged; what waits is not lost (H27)", async () => {
    m = await NodeMachine.start([
      [1, 0],
      [1, 1],
    ]);
    m.fill(0, 0, 1);
    m.fill(1, 0, 1);
    m.pass(2);
    expect(m.counted()).toEqual([0, 0, 2, 0, 0, 0]);
    scanBatch(m.shard, 1);
    setKnobs(m.shard, { mergeAcrossNodes: 1 });
    expect(m.counted()).toEqual([0, 0, 0, 2, 0, 0]);
    setKnobs(m.shard, { mergeAcrossNodes: 0 });
    scanBatch(m.shard, 1);
    m.pass(2);
    expect(m.counted()).toEqual([0, 0, 2, 0, 0, 0]);
    scanBatch(m.shard, 1);
    setKnobs(m.shard, { mergeAcrossNodes: 1 });
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it("changes with run = 2 though somebody holds a frame that was merged (H28)", async () => {
    m = await NodeMachine.start([[2, 0]]);
    m.fill(0, 0, 2);
    m.pass(2);
    const other = await viewOf(m.engine);
    const pfn = m.frame(0, 0);
    expect(tryGetPage(other, pfn)).toBe(REF_HELD);
    setKnobs(m.shard, { run: 2, mergeAcrossNodes: 1 });
    expect(readMapping(m.memory, pfn)).toBe(MAPPING_NOBODY);
    putPage(other, pfn);
    expect(m.counted()).toEqual([0, 0, 0, 0, 0, 0]);
    setKnobs(m.shard, { run: 1 });
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it("run = 2 takes nodes off the list too", async () => {
    m = await NodeMachine.start([[2, 0]]);
    m.fill(0, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    const other = await viewOf(m.engine);
    const pfn = m.frame(0, 0);
    trylockPage(other, pfn);
    m.pass();
    unlockPage(other, pfn);
    expect(m.listed).toBe(true);
    setKnobs(m.shard, { run: 2 });
    expect(m.listed).toBe(false);
    expect(m.counted()).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

const X = 200;
const oneHash = (memory: Memory): Memory => ({ ...memory, kernels: withOneHash(memory.kernels) });

/** Fills pages of a guest with bytes of their own, from 1 on: different contents. */
function fillApart(guest: number, from: number, to: number): void {
  for (let page = from; page < to; page++) m.fill(guest, page, page + 1, page + 1);
}

describe("a node that comes among contents with its hash, whose list is closed", () => {
  it("gives its page to its equal, under the hash of that", async () => {
    m = await NodeMachine.start(
      [
        [2, 0],
        [18, 1],
      ],
      {},
      oneHash,
    );
    fillApart(1, 0, 16);
    m.pass(2);
    // Sixteen close the list: these two go on to another.
    m.fill(1, 16, 18, X);
    m.fill(0, 0, 2, X);
    m.pass(2);
    m.fill(0, 1, 2, X);
    m.pass();
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.frame(0, 0)).toBe(m.frame(1, 17));
    m.pass();
    expect(m.counters()).toEqual([1, 2, 17, 0, 0, 0]);
  });

  it("stands with the equal page that waits there, though it is full", async () => {
    m = await NodeMachine.start(
      [
        [2, 0],
        [18, 1],
      ],
      { maxPageSharing: 2 },
      oneHash,
    );
    m.fill(1, 0, 1, X);
    fillApart(1, 1, 17);
    m.fill(0, 0, 2, X);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counters()).toEqual([1, 1, 17, 0, 0, 0]);
    m.fill(1, 17, 18, X);
    m.pass(2);
    expect(m.counters()).toEqual([2, 2, 16, 0, 1, 2]);
  });

  it("takes no page of another tree for its equal", async () => {
    m = await NodeMachine.start(
      [
        [3, 0],
        [18, 1],
      ],
      { maxPageSharing: 2 },
      withOneList,
    );
    // Two of three are merged, one waits; fifteen others close the list, and two more equals go on to another.
    m.fill(0, 0, 3, X);
    fillApart(1, 0, 16);
    m.pass(2);
    m.fill(1, 16, 18, X);
    m.pass(2);
    expect(m.counters()).toEqual([2, 2, 17, 0, 0, 0]);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counters()).toEqual([2, 2, 17, 0, 1, 2]);
  });
});
