/**
 * nodes-fuzz - the reproducer of H23: guests of few contents on 4 nodes, written at random while their frames are
 * moved at random, merged with merge_across_nodes 0 and a small max_page_sharing. After every step the audit is
 * clean, and ksmd has moved no page to another node. In the end equal pages of a node share its frames as far as
 * the limit lets them, and merged anew they give the closed form of each node. With real hashes, with one hash
 * for all, and with one list for all nodes.
 */
import { describe, expect, it } from "vitest";
import { PTE_MERGED, PTE_NONE, ptePfn, SHARD_MIGRATE_LIST } from "../../src/base/layout.js";
import { type Memory, nodeOf } from "../../src/base/memory.js";
import { createEngine, type EngineGuest } from "../../src/index.js";
import { setKnobs } from "../../src/ksm/control.js";
import { type Counters, readCounters } from "../../src/ksm/counters.js";
import { scanBatch } from "../../src/ksm/scan.js";
import { createShard, type Shard, shardWord } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { Migrator } from "../../src/machine/migration.js";
import { guestBase } from "../../src/mm/guest.js";
import { readPte } from "../../src/mm/pte.js";
import { closedForm } from "../oracle/closed-form.js";
import { BLOCK, PAGE, scanPasses, viewOf, withOneHash, withOneList } from "./view.js";

const NODES = 4;
/** Where a page's content is told apart: not where peek looks first. */
const CONTENT_AT = 8;

/** xorshift32: a number below `n`. */
function random(seed: number): (n: number) => number {
  let state = (seed * 7919 + 13) >>> 0;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

const HASHES: Readonly<Record<string, (memory: Memory) => Memory>> = {
  "its own hash": (memory) => memory,
  "one hash": (memory) => ({ ...memory, kernels: withOneHash(memory.kernels) }),
  "one list": withOneList,
};

interface Sizes {
  readonly guests: number;
  readonly pages: number;
  readonly values: number;
  readonly steps: number;
  /** Pages written, and frames moved, at a time at most. */
  readonly burst: number;
  /** max_page_sharing is one of these. */
  readonly limits: readonly number[];
}

const SMALL = { guests: 3, pages: 24, steps: 50, burst: 20, limits: [2, 2, 3, 256] };

class Program {
  private readonly contents: Int32Array;
  private readonly migrator: Migrator;
  /** Of all programs: frames that were moved. */
  moved = 0;

  constructor(
    private readonly guests: readonly EngineGuest[],
    private readonly shard: Shard,
    private readonly below: (n: number) => number,
    private readonly sizes: Sizes,
  ) {
    this.contents = new Int32Array(guests.length * sizes.pages).fill(-1);
    this.migrator = new Migrator(shard.memory);
  }

  /** The pte of page `at` of all guests' pages. */
  private pte(at: number): number {
    const { memory } = this.shard;
    const guest = this.guests[Math.floor(at / this.sizes.pages)] as EngineGuest;
    return readPte(memory, guestBase(memory, guest.id) + (at % this.sizes.pages));
  }

  /** The node of every page, -1 for one without a frame. */
  private nodes(): number[] {
    const { memory } = this.shard;
    return Array.from(this.contents, (_, at) => {
      const pte = this.pte(at);
      return pte === PTE_NONE ? -1 : nodeOf(memory, ptePfn(pte));
    });
  }

  step(): void {
    const kind = this.below(8);
    if (kind < 3) this.write();
    else if (kind < 5) this.migrate();
    else this.scan(kind === 5 ? 100_000 : 1 + this.below(40));
    expect(checkMachine(this.shard).problems).toEqual([]);
  }

  private write(): void {
    for (let count = this.below(this.sizes.burst); count >= 0; count--) {
      this.writePage(this.below(this.contents.length));
    }
  }

  private writePage(at: number): void {
    const value = this.below(this.sizes.values);
    const guest = this.guests[Math.floor(at / this.sizes.pages)] as EngineGuest;
    const address = (at % this.sizes.pages) * PAGE + CONTENT_AT;
    guest.write(address, new Uint8Array(Int32Array.of(value).buffer));
    this.contents[at] = value;
  }

  fill(): void {
    for (const at of this.contents.keys()) if (this.below(8) > 0) this.writePage(at);
  }

  private migrate(): void {
    const pfns = new Set<number>();
    for (let count = this.below(this.sizes.burst); count >= 0; count--) {
      const pte = this.pte(this.below(this.contents.length));
      if (pte !== PTE_NONE) pfns.add(ptePfn(pte));
    }
    const tally = this.migrator.migrateSlice([...pfns], this.below(NODES));
    this.moved += tally[0] as number;
  }

  private scan(budget: number): void {
    const before = this.nodes();
    scanBatch(this.shard, budget);
    expect(this.nodes(), "pages that merging brought to another node").toEqual(before);
  }

  settle(): void {
    scanPasses(this.shard, 6);
    expect(checkMachine(this.shard).problems).toEqual([]);
    expect(shardWord(this.shard, SHARD_MIGRATE_LIST)).toBe(0);
  }

  /** Every byte is there; the pages of each content on each node. */
  private counts(): Map<string, { pages: number; frames: Map<number, number> }> {
    const found = new Map<string, { pages: number; frames: Map<number, number> }>();
    for (const [at, value] of this.contents.entries()) {
      const guest = this.guests[Math.floor(at / this.sizes.pages)] as EngineGuest;
      const bytes = guest.read((at % this.sizes.pages) * PAGE + CONTENT_AT, 4);
      const pte = this.pte(at);
      expect(new DataView(bytes.buffer).getInt32(0, true)).toBe(value === -1 ? 0 : value);
      if (pte === PTE_NONE) continue;
      const key = `${value} on node ${nodeOf(this.shard.memory, ptePfn(pte))}`;
      const content = found.get(key) ?? { pages: 0, frames: new Map<number, number>() };
      found.set(key, content);
      content.pages++;
      if ((pte & PTE_MERGED) === 0) continue;
      content.frames.set(ptePfn(pte), (content.frames.get(ptePfn(pte)) ?? 0) + 1);
    }
    return found;
  }

  private get counters(): Counters {
    return readCounters(this.shard.memory);
  }

  checkSettled(limit: number): void {
    let chains = 0;
    let dups = 0;
    for (const [what, { pages, frames }] of this.counts()) {
      const sharers = [...frames.values()];
      const single = pages - sharers.reduce((sum, each) => sum + each, 0);
      expect(single, `pages of ${what} that wait`).toBeLessThanOrEqual(1);
      const room = sharers.some((each) => each < limit);
      expect(single === 1 && room, `${what} waits beside room`).toBe(false);
      if (frames.size < 2) continue;
      chains++;
      dups += frames.size;
    }
    const { counters } = this;
    expect([counters.stable_node_chains, counters.stable_node_dups]).toEqual([chains, dups]);
    expect(counters.pages_shared + counters.pages_sharing).toBe(counters.ksm_ptes);
    expect(counters.pages_volatile).toBe(0);
  }

  /** Unmerged and merged anew, each content has the frames that it needs on each node, and no more. */
  checkAnew(limit: number): void {
    setKnobs(this.shard, { run: 2 });
    expect(this.counters).toMatchObject({ ...closedForm([], limit), ksm_ptes: 0 });
    setKnobs(this.shard, { run: 1 });
    const pages = [...this.counts().values()].map((content) => content.pages);
    scanPasses(this.shard, 2);
    expect(this.counters).toMatchObject(closedForm(pages, limit));
    expect(checkMachine(this.shard).problems).toEqual([]);
  }
}

async function run(seed: number, hash: string, sizes: Sizes): Promise<number> {
  const below = random(seed);
  const limit = sizes.limits[below(sizes.limits.length)] as number;
  const frames = sizes.guests * sizes.pages;
  const engine = await createEngine({
    ...{ workers: false, nodes: NODES, blockBytes: BLOCK, memoryPerNode: frames * PAGE },
    ...{ ksm: { run: 1, maxPageSharing: limit, mergeAcrossNodes: 0 }, seed: 1 },
  });
  const guests = Array.from({ length: sizes.guests }, () =>
    engine.createGuest({ bytes: sizes.pages * PAGE }),
  );
  const memory = (HASHES[hash] as (memory: Memory) => Memory)(await viewOf(engine));
  const program = new Program(guests, createShard(memory, 0), below, sizes);
  program.fill();
  for (let step = 0; step < sizes.steps; step++) program.step();
  program.settle();
  program.checkSettled(limit);
  program.checkAnew(limit);
  await engine.close();
  return program.moved;
}

async function runAll(seeds: number, hash: string, sizes: Sizes): Promise<void> {
  let moved = 0;
  for (let seed = 1; seed <= seeds; seed++) {
    moved += await run(seed, hash, sizes).catch((error: Error) => {
      error.message = `seed ${seed}: ${error.message}`;
      throw error;
    });
  }
  expect(moved).toBeGreaterThan(seeds * sizes.burst);
}

describe("random programs with frames that move between 4 nodes", () => {
  it.each(Object.keys(HASHES))("end settled on each node, every content with %s", async (hash) => {
    await runAll(20, hash, { ...SMALL, values: hash === "its own hash" ? 6 : 40 });
  });

  it("H23: many guests, 128 patterns", async () => {
    const sizes = { guests: 1024, pages: 2, values: 128, steps: 30, burst: 512, limits: [2] };
    await runAll(2, "its own hash", sizes);
  });
});
