/** What collisions and long chains cost: within the bound that src/ksm/content-index.ts gives. */
import { describe, expect, it } from "vitest";
import type { Memory } from "../../src/base/memory.js";
import { createEngine, type Engine } from "../../src/index.js";
import { LIST_MAX } from "../../src/ksm/rehash.js";
import { createShard } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { closedForm } from "../oracle/closed-form.js";
import { PAGE, scanPasses, viewOf, withOneHash } from "./view.js";

const MIB = 2 ** 20;

/** An engine with one guest of `pages` pages; they differ in the word `contentOf(gfn)` at byte `at` alone. */
async function filled(
  pages: number,
  contentOf: (gfn: number) => number,
  maxPageSharing = 256,
  at = 0,
) {
  const engine = await createEngine({
    ...{ workers: false, memoryPerNode: 64 * MIB, maxGuests: 1 },
    ksm: { run: 1, maxPageSharing },
  });
  const guest = engine.createGuest({ bytes: pages * PAGE });
  const vcpu = guest.vcpu();
  vcpu.run(() => {
    for (let gfn = 0; gfn < pages; gfn++) vcpu.store32(gfn * PAGE + at, contentOf(gfn));
  });
  return { engine, guest };
}

/** Scans with kernels that give every content one hash, until nothing more happens. */
async function scanWithOneHash(engine: Engine, passes: number): Promise<Memory> {
  const view = await viewOf(engine);
  const memory = { ...view, kernels: withOneHash(view.kernels) };
  const shard = createShard(memory, 0);
  scanPasses(shard, passes);
  expect(checkMachine(shard).problems).toEqual([]);
  return memory;
}

describe("contents with one hash", () => {
  // The first differ where peek.ts looks, the others where only a whole compare finds it.
  it.each([0, 404])(
    "10,000 pages that differ at byte %i: a bounded number of compares",
    async (at) => {
      const pages = 10_000;
      const { engine } = await filled(pages, (gfn) => gfn + 1, 256, at);
      await scanWithOneHash(engine, 3);
      const { counters } = engine.stats();
      expect(counters).toMatchObject(closedForm(Array(pages).fill(1), 256));
      expect(counters.pages_compared).toBeLessThanOrEqual(2 * LIST_MAX * pages);
      expect(counters.pages_hashed).toBe(pages);
      await engine.close();
    },
  );

  it.each([2, 3, 16, 256])(
    "contents with copies find each other at max_page_sharing %i",
    async (limit) => {
      // So many contents that their list is closed long before all copies are in.
      const counts = Array.from({ length: 120 }, (_, content) => 1 + ((content * 7) % 40));
      const contents = counts.flatMap((count, content) => Array<number>(count).fill(content + 1));
      const place = (gfn: number): number => contents[(gfn * 997) % contents.length];
      const { engine } = await filled(contents.length, place, limit);
      await scanWithOneHash(engine, 3);
      expect(engine.stats().counters).toMatchObject(closedForm(counts, limit));
      await engine.close();
    },
  );

  it("hashes of one bit: the bound holds for each of the two", async () => {
    const pages = 2000;
    const engine = await createEngine({
      ...{ workers: false, memoryPerNode: 16 * MIB, hashBits: 1, ksm: { run: 1 } },
    });
    const vcpu = engine.createGuest({ bytes: pages * PAGE }).vcpu();
    for (let gfn = 0; gfn < pages; gfn++) vcpu.store32(gfn * PAGE + 2000, gfn + 1);
    const counters = engine.ksm.scanSync(2);
    expect(counters).toMatchObject(closedForm(Array(pages).fill(1), 256));
    expect(counters.pages_compared).toBeLessThanOrEqual(2 * LIST_MAX * pages);
    await engine.close();
  });
});

describe("many copies of one content", () => {
  it.each([2, 3, 16, 256])(
    "cost 3 compares a page at most, at max_page_sharing %i",
    async (limit) => {
      const pages = 9001;
      const { engine, guest } = await filled(pages, () => 42, limit);
      const counters = engine.ksm.scanSync(2);
      expect(counters).toMatchObject(closedForm([pages], limit));
      expect(counters.pages_compared).toBeLessThanOrEqual(3 * pages);
      // Half of them leave again and come back: still a few compares a page.
      const vcpu = guest.vcpu();
      for (const value of [1, 42]) {
        for (let gfn = 0; gfn < pages; gfn += 2) vcpu.store32(gfn * PAGE, value);
      }
      const again = engine.ksm.scanSync(2);
      expect(again.pages_sharing + again.pages_shared + again.pages_unshared).toBe(pages);
      expect(again.pages_compared - counters.pages_compared).toBeLessThanOrEqual(3 * pages);
      expect((await engine.check()).problems).toEqual([]);
      await engine.close();
    },
  );
});
