/**
 * What becomes of a merged frame that is moved to another node while merge_across_nodes is 0: a test for each case,
 * with a ksmd that is stopped after any page.
 */
import { afterEach, describe, expect, it } from "vitest";
import { nodeOf } from "../../src/base/memory.js";
import { readCounters } from "../../src/ksm/counters.js";
import { scanBatch } from "../../src/ksm/scan.js";
import { reportMachine } from "../../src/machine/report.js";
import { trylockPage, unlockPage } from "../../src/mm/page-lock.js";
import { freezePage, unfreezePage } from "../../src/mm/page-ref.js";
import { beginSection, createTlb, endSection } from "../../src/mm/tlb.js";
import { openVcpu } from "../../src/mm/vcpu.js";
import { NodeMachine } from "./node-machine.js";
import { PAGE, pfnsOf, viewOf } from "./view.js";

let m: NodeMachine;
afterEach(() => m?.engine.close());

describe("a merged frame that was moved", () => {
  it("gets its place when one of its pages is visited; the others find it there (H17, H25)", async () => {
    m = await NodeMachine.start([
      [3, 0],
      [1, 1],
    ]);
    m.fill(0, 0, 3);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
    m.pass();
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
    expect(m.listed).toBe(false);
    // A page of its new node goes onto it, one of its old node does not.
    m.fill(1, 0, 1);
    m.pass(2);
    expect(m.counted()).toEqual([1, 3, 0, 0, 0, 0]);
    expect(m.frame(1, 0)).toBe(m.frame(0, 2));
    expect(nodeOf(m.memory, m.frame(0, 0))).toBe(1);
  });

  it("is not merged onto by a page that finds it first: it is listed, and the page waits (H18)", async () => {
    m = await NodeMachine.start([
      [1, 0],
      [2, 0],
    ]);
    m.fill(1, 0, 2);
    m.pass(2);
    m.fill(0, 0, 1);
    m.pass();
    await m.move(m.frame(1, 0), 1);
    scanBatch(m.shard, 1);
    expect(m.listed).toBe(true);
    // On the list it counts, but not as a chain; reports know it as well.
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(reportMachine(m.shard).histogram).toEqual([
      { copies_min: 1, copies_max: 1, contents: 1, pages: 1 },
      { copies_min: 2, copies_max: 3, contents: 1, pages: 2 },
    ]);
    m.pass();
    expect(m.listed).toBe(false);
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(nodeOf(m.memory, m.frame(0, 0))).toBe(0);
    // Moved back, it is given the page that waits.
    await m.move(m.frame(1, 0), 0);
    m.pass(2);
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
    expect(m.frame(0, 0)).toBe(m.frame(1, 1));
  });

  it("and whose place is looked for in one batch with a page that finds it, is found by both", async () => {
    m = await NodeMachine.start([[3, 0]]);
    m.fill(0, 0, 2);
    m.pass(2);
    m.fill(0, 2, 3);
    m.pass();
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    expect(nodeOf(m.memory, m.frame(0, 2))).toBe(0);
  });

  it("that came back before it was visited has its place still", async () => {
    m = await NodeMachine.start([[2, 0]]);
    m.fill(0, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    await m.move(m.frame(0, 0), 0);
    m.pass();
    expect(m.counted()).toEqual([1, 1, 0, 0, 0, 0]);
    const { pages_compared } = readCounters(m.memory);
    m.pass();
    expect(readCounters(m.memory).pages_compared).toBe(pages_compared);
  });

  it("takes in a page that waited on its new node", async () => {
    m = await NodeMachine.start([
      [2, 0],
      [1, 1],
    ]);
    m.fill(0, 0, 2);
    m.fill(1, 0, 1);
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
    expect(m.frame(1, 0)).toBe(m.frame(0, 0));
  });

  it("is not merged away if it has more than one page: it is a dup (H19, C25)", async () => {
    m = await NodeMachine.start([
      [3, 0],
      [3, 1],
    ]);
    m.fill(0, 0, 3);
    m.fill(1, 0, 3);
    m.pass(2);
    expect(m.counted()).toEqual([2, 4, 0, 0, 0, 0]);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counted()).toEqual([2, 4, 0, 0, 1, 2]);
    expect(new Set(pfnsOf(m.memory, m.engine)).size).toBe(2);
    expect(reportMachine(m.shard).histogram).toEqual([
      { copies_min: 4, copies_max: 7, contents: 1, pages: 6 },
    ]);
  });

  it("with one page left goes onto its equal, also if others have left unseen", async () => {
    m = await NodeMachine.start([
      [4, 0],
      [2, 1],
    ]);
    m.fill(0, 0, 4);
    m.fill(1, 0, 2);
    m.pass(2);
    m.fill(0, 1, 2);
    m.pass();
    // Two of the four write, of which ksmd knows one; and the last.
    m.fill(0, 2, 3, 9);
    m.fill(0, 2, 3, 7);
    m.fill(0, 3, 4);
    const used = m.engine.stats().nodes[1]?.used as number;
    await m.move(m.frame(0, 0), 1);
    expect(m.engine.stats().nodes[1]?.used).toBe(used + 1);
    m.pass();
    expect(m.frame(0, 0)).toBe(m.frame(1, 0));
    expect(m.engine.stats().nodes[1]?.used).toBe(used);
    m.pass(2);
    // The written pages have found each other again, on node 0.
    expect(m.counted()).toEqual([2, 4, 0, 0, 0, 0]);
    expect(nodeOf(m.memory, m.frame(0, 1))).toBe(0);
  });

  it("with one page left, and its equal full, becomes a dup with room", async () => {
    m = await NodeMachine.start(
      [
        [2, 0],
        [3, 1],
      ],
      { maxPageSharing: 2 },
    );
    m.fill(0, 0, 2);
    m.fill(1, 0, 2);
    m.pass(2);
    m.fill(0, 1, 2);
    m.pass();
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counted()).toEqual([2, 1, 1, 0, 1, 2]);
    m.fill(1, 2, 3);
    m.pass(2);
    expect(m.counted()).toEqual([2, 2, 1, 0, 1, 2]);
    expect(m.frame(1, 2)).toBe(m.frame(0, 0));
  });

  it("that is full is linked, and not merged onto (H26)", async () => {
    m = await NodeMachine.start(
      [
        [2, 0],
        [3, 1],
      ],
      { maxPageSharing: 2 },
    );
    m.fill(0, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    m.fill(1, 0, 1);
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 1, 0, 0, 0]);
    m.fill(1, 1, 3);
    m.pass(2);
    // The second pairs with the one that waited; then it is the third that waits.
    expect(m.counted()).toEqual([2, 2, 1, 0, 1, 2]);
  });

  it("that is full stands behind a dup with room", async () => {
    m = await NodeMachine.start(
      [
        [2, 0],
        [3, 1],
      ],
      { maxPageSharing: 2 },
    );
    m.fill(0, 0, 2);
    m.fill(1, 0, 2);
    m.pass(2);
    m.fill(1, 1, 2, 9);
    m.fill(1, 1, 2);
    m.guests[1]?.write(PAGE, Uint8Array.of(1));
    m.pass(2);
    expect(m.counted()).toEqual([2, 1, 1, 0, 0, 0]);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counted()).toEqual([2, 1, 1, 0, 1, 2]);
    m.fill(1, 2, 3);
    m.pass(2);
    expect(m.frame(1, 2)).toBe(m.frame(1, 0));
    expect(m.counted()).toEqual([2, 2, 1, 0, 1, 2]);
  });

  it("takes the place of its equal, if that was moved as well", async () => {
    m = await NodeMachine.start([
      [2, 0],
      [2, 1],
    ]);
    m.fill(0, 0, 2);
    m.fill(1, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    await m.move(m.frame(1, 0), 0);
    scanBatch(m.shard, 1);
    expect(m.listed).toBe(true);
    expect(m.counted()).toEqual([2, 2, 0, 0, 0, 0]);
    m.pass();
    expect(m.listed).toBe(false);
    expect(m.counted()).toEqual([2, 2, 0, 0, 0, 0]);
    expect([m.frame(0, 1), m.frame(1, 1)].map((pfn) => nodeOf(m.memory, pfn))).toEqual([1, 0]);
  });

  it("leaves the ring of its old node to its dups", async () => {
    m = await NodeMachine.start([[6, 0]], { maxPageSharing: 2 });
    m.fill(0, 0, 6);
    m.pass(2);
    expect(m.counted()).toEqual([3, 3, 0, 0, 1, 3]);
    await m.move(m.frame(0, 2), 1);
    m.pass();
    expect(m.counted()).toEqual([3, 3, 0, 0, 1, 2]);
    await m.move(m.frame(0, 0), 1);
    m.pass();
    expect(m.counted()).toEqual([3, 3, 0, 0, 1, 2]);
    await m.move(m.frame(0, 4), 1);
    m.pass();
    expect(m.counted()).toEqual([3, 3, 0, 0, 1, 3]);
  });

  it("and whose page lock is taken gets its place in a later pass (H11)", async () => {
    m = await NodeMachine.start([[3, 0]]);
    m.fill(0, 0, 3);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    const other = await viewOf(m.engine);
    const pfn = m.frame(0, 0);
    expect(trylockPage(other, pfn)).toBe(true);
    m.pass();
    expect(m.listed).toBe(true);
    unlockPage(other, pfn);
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
    m.pass();
    expect(m.listed).toBe(false);
    expect(m.counted()).toEqual([1, 2, 0, 0, 0, 0]);
  });

  it("waits for its equal's page lock in the same way", async () => {
    m = await NodeMachine.start([
      [2, 0],
      [2, 1],
    ]);
    m.fill(0, 0, 2);
    m.fill(1, 0, 2);
    m.pass(2);
    m.guests[0]?.write(PAGE, Uint8Array.of(1));
    m.pass();
    await m.move(m.frame(0, 0), 1);
    const other = await viewOf(m.engine);
    const pfn = m.frame(1, 0);
    expect(trylockPage(other, pfn)).toBe(true);
    m.pass();
    expect(m.listed).toBe(true);
    expect(m.frame(0, 0)).not.toBe(pfn);
    unlockPage(other, pfn);
    m.pass();
    expect(m.frame(0, 0)).toBe(pfn);
    expect(m.counted()).toEqual([1, 2, 1, 0, 0, 0]);
  });

  it("and then freed is dropped from the list, though its guests are left out of the pass (H20)", async () => {
    m = await NodeMachine.start([
      [2, 0],
      [1, 0],
    ]);
    m.fill(0, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    const other = await viewOf(m.engine);
    const pfn = m.frame(0, 0);
    trylockPage(other, pfn);
    m.pass();
    unlockPage(other, pfn);
    expect(m.listed).toBe(true);
    m.fill(0, 0, 2);
    // A vCPU that reaches no safepoint.
    const vcpu = createTlb(other, openVcpu(other, 0));
    beginSection(vcpu);
    m.pass();
    expect(m.engine.stats().skippedGuests).toBe(1);
    expect(m.listed).toBe(false);
    expect(readCounters(m.memory)).toMatchObject({ pages_shared: 0, pages_sharing: 0 });
    endSection(vcpu);
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it("and written by its last page is dropped from the list when that is visited", async () => {
    m = await NodeMachine.start([[2, 0]]);
    m.fill(0, 0, 2);
    m.pass(2);
    await m.move(m.frame(0, 0), 1);
    const other = await viewOf(m.engine);
    const pfn = m.frame(0, 0);
    trylockPage(other, pfn);
    m.pass();
    unlockPage(other, pfn);
    m.guests[0]?.write(0, Uint8Array.of(1));
    m.pass();
    expect(m.counted()).toEqual([1, 0, 0, 1, 0, 0]);
    m.guests[0]?.write(PAGE, Uint8Array.of(1));
    m.pass(2);
    expect(m.counted()).toEqual([1, 1, 0, 0, 0, 0]);
  });

  it.each([2, 3])(
    "is a new pair's, beside a frozen twin: page %i is written, the other visited",
    async (page) => {
      m = await NodeMachine.start([[4, 0]], { maxPageSharing: 2 });
      m.fill(0, 0, 2);
      m.pass(2);
      m.fill(0, 2, 4);
      m.pass();
      const full = m.frame(0, 0);
      expect(freezePage(m.memory, full, 2)).toBe(true);
      m.pass();
      unfreezePage(m.memory, full, 2);
      expect(m.listed).toBe(true);
      m.guests[0]?.write(page * PAGE, Uint8Array.of(1));
      m.pass();
      expect(m.listed).toBe(false);
      expect(m.counted()).toEqual([2, 1, 0, 1, 1, 2]);
    },
  );

  it("with room, beside a full twin, makes place for a page that waited there", async () => {
    const sizes = [
      [4, 0],
      [1, 1],
    ] as const;
    m = await NodeMachine.start(sizes, { maxPageSharing: 2 });
    m.fill(0, 0, 4);
    m.fill(1, 0, 1);
    m.pass(3);
    const [first, ...others] = [0, 1, 2, 3].map((page) => m.frame(0, page));
    const pair = [1, 2, 3].filter((_, i) => others[i] !== first) as [number, number];
    m.fill(0, pair[1], pair[1] + 1, 8);
    m.pass(3);
    await m.move(first as number, 1);
    m.pass(3);
    expect(m.counters()).toEqual([2, 1, 2, 0, 0, 0]);
    await m.move(m.frame(0, pair[0]), 1);
    m.pass(2);
    expect(m.frame(1, 0)).toBe(m.frame(0, pair[0]));
    expect(m.counters()).toEqual([2, 2, 1, 0, 1, 2]);
  });
});
