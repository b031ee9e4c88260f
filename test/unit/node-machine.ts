/** node-machine - guests on two nodes and a ksmd by hand, merging on each node; frames that move between them. */
import { expect } from "vitest";
import { SHARD_MIGRATE_LIST } from "../../src/base/layout.js";
import type { Memory } from "../../src/base/memory.js";
import { createEngine, type Engine, type EngineGuest } from "../../src/index.js";
import { readCounters } from "../../src/ksm/counters.js";
import type { Knobs } from "../../src/ksm/knobs.js";
import { createShard, type Shard, shardWord } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { guestBase } from "../../src/mm/guest.js";
import { readPte } from "../../src/mm/pte.js";
import { BLOCK, PAGE, pfnsOf, scanPasses, viewOf } from "./view.js";

export class NodeMachine {
  readonly shard: Shard;

  private constructor(
    readonly engine: Engine,
    readonly memory: Memory,
    readonly guests: readonly EngineGuest[],
  ) {
    this.shard = createShard(memory, 0);
  }

  /** Guests of these pages, on these nodes; ksmd merges when it is told to. */
  static async start(
    sizes: readonly (readonly [pages: number, node: number])[],
    ksm: Partial<Knobs> = {},
    hashing: (memory: Memory) => Memory = (memory) => memory,
  ): Promise<NodeMachine> {
    const engine = await createEngine({
      ...{ workers: false, nodes: 2, blockBytes: BLOCK, memoryPerNode: 4 * BLOCK, scanTimeout: 1 },
      ksm: { run: 1, mergeAcrossNodes: 0, ...ksm },
    });
    const memory = hashing(await viewOf(engine));
    const guests = sizes.map(([pages, node]) => engine.createGuest({ bytes: pages * PAGE, node }));
    return new NodeMachine(engine, memory, guests);
  }

  /** Fills pages of a guest with the byte. */
  fill(guest: number, from: number, to: number, byte = 7): void {
    this.guests[guest]?.fill(from * PAGE, (to - from) * PAGE, byte);
  }

  pass(passes = 1): void {
    scanPasses(this.shard, passes);
  }

  /** The frame of a page. */
  frame(guest: number, page: number): number {
    const pfns = pfnsOf(this.memory, this.engine);
    const before = this.guests.slice(0, guest).reduce((sum, each) => sum + each.bytes / PAGE, 0);
    return pfns[before + page] as number;
  }

  async move(pfn: number, to: number): Promise<void> {
    expect(await this.engine.migrate({ pfns: [pfn], to })).toMatchObject({ succeeded: 1 });
  }

  /** Whether a node waits on the migrate list. */
  get listed(): boolean {
    return shardWord(this.shard, SHARD_MIGRATE_LIST) !== 0;
  }

  /** shared, sharing, unshared, volatile, chains, dups; the audit is clean, and every page has the byte 7. */
  counted(): number[] {
    for (const guest of this.guests) {
      const bytes = guest.read(0, guest.bytes);
      for (let at = 0; at < bytes.length; at += PAGE) {
        const pte = readPte(this.memory, guestBase(this.memory, guest.id) + at / PAGE);
        if (pte !== 0 && bytes[at + 1] !== 7) throw new Error(`${guest.name} at ${at}`);
      }
    }
    return this.counters();
  }

  /** The same, whatever the pages hold. */
  counters(): number[] {
    expect(checkMachine(this.shard).problems).toEqual([]);
    const { pages_shared, pages_sharing, pages_unshared, pages_volatile, ...more } = readCounters(
      this.memory,
    );
    expect(pages_shared + pages_sharing).toBe(more.ksm_ptes);
    const { stable_node_chains, stable_node_dups } = more;
    return [
      ...[pages_shared, pages_sharing, pages_unshared, pages_volatile],
      ...[stable_node_chains, stable_node_dups],
    ];
  }
}
