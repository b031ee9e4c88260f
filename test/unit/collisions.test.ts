/** What collisions and long chains cost: within the bound that src/ksm/content-index.ts gives. */
import { describe, expect, it } from "vitest";
import type { Memory } from "../../src/base/memory.js";
import { createEngine, type Engine } from "../../src/index.js";
import { createShard } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { closedForm } from "../oracle/closed-form.js";
import { PAGE, scanPasses, viewOf, withOneHash } from "./view.js";

const MIB = 2 ** 20;

/** An engine with one guest of `pages` pages; page gfn begins with `contentOf(gfn)`, else they are equal. */
async function filled(pages: number, contentOf: (gfn: number) => number, maxPageSharing = 256) {
  const engine = await createEngine({
    ...{ workers: false, memoryPerNode: 64 * MIB, maxGuests: 1 },
    ksm: { run: 1, maxPageSharing },
  });
  const guest = engine.createGuest({ bytes: pages * PAGE });
  const vcpu = guest.vcpu();
  vcpu.run(() => {
    for (let gfn = 0; gfn < pages; gfn++) vcpu.store32(gfn * PAGE, contentOf(gfn));
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
  it("10,000 different pages: n (n - 1) / 2 compares at most", { timeout: 60_000 }, async () => {
    const pages = 10_000;
    const { engine } = await filled(pages, (gfn) => gfn + 1);
    await scanWithOneHash(engine, 3);
    const { counters } = engine.stats();
    expect(counters).toMatchObject(closedForm(Array(pages).fill(1), 256));
    expect(counters.pages_compared).toBeLessThanOrEqual((pages * (pages - 1)) / 2);
    expect(counters.pages_hashed).toBe(pages);
    await engine.close();
  });

  it("contents with copies still find each other, at every limit", async () => {
    const counts = [1, 2, 3, 4, 5, 7, 16, 17, 40, 90];
    const contents = counts.flatMap((count, content) => Array(count).fill(content + 1));
    for (const limit of [2, 3, 16, 256]) {
      const { engine } = await filled(contents.length, (gfn) => contents[(gfn * 7) % 185], limit);
      await scanWithOneHash(engine, 3);
      expect(engine.stats().counters).toMatchObject(closedForm(counts, limit));
      await engine.close();
    }
  });

  it("hashes of one bit: the bound holds for each of the two", async () => {
    const pages = 2000;
    const engine = await createEngine({
      ...{ workers: false, memoryPerNode: 16 * MIB, hashBits: 1, ksm: { run: 1 } },
    });
    const vcpu = engine.createGuest({ bytes: pages * PAGE }).vcpu();
    for (let gfn = 0; gfn < pages; gfn++) vcpu.store32(gfn * PAGE + 2000, gfn + 1);
    const counters = engine.ksm.scanSync(2);
    expect(counters).toMatchObject(closedForm(Array(pages).fill(1), 256));
    expect(counters.pages_compared).toBeLessThanOrEqual((pages * (pages - 1)) / 2);
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
