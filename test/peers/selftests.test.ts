/**
 * Linux selftests ksm_tests.c and ksm_functional_tests.c, replayed through the public API. A row's number
 * is that of shared/spec/ksm-semantics.md section 4.1 and 4.2.
 *
 * Rows that are not here: K1c F6..F8 F11 (there are no processes to opt in or to fork), K1d F4 F5 (guest
 * pages have no protections), K3 K4 F2 (no use_zero_pages yet), K7 K8 (they assert nothing; bench measures),
 * F3 (no discard yet), F9 (is F1 here), F10 (no clones yet), R2 (no remap yet). R1's processes are no forks here.
 */
import { expect, it } from "vitest";
import type { Engine, EngineGuest } from "../../dist/index.js";
import { closedForm } from "../oracle/closed-form.js";
import { pfnsOf, pfnsOfAll } from "../workers/pfns.js";
import { describeEngines, mergeStep, PAGE, prepare, withEngine } from "./engines.js";

const STAR = "*".charCodeAt(0);
const LIMITS = [2, 3, 10, 256];
const COPIES = [1, 2, 3, 5, 9, 10, 11, 12, 20, 21, 255, 256, 257, 258, 511, 512, 513];

/** The selftests' own assertion helper. */
function selftestFormula(copies: number, limit: number): { shared: number; sharing: number } {
  const full = Math.floor(copies / limit);
  if (copies % limit <= 1) return { shared: full, sharing: full * (limit - 1) };
  return { shared: full + 1, sharing: copies - full - 1 };
}

function isFilled(guest: EngineGuest, byte: number): boolean {
  return Buffer.alloc(guest.bytes, byte).equals(guest.read(0, guest.bytes));
}

async function sweep(engine: Engine, limit: number, copies: number): Promise<void> {
  await prepare(engine, limit);
  const guest = engine.createGuest({ bytes: copies * PAGE });
  guest.fill(0, guest.bytes, STAR);
  const counters = await mergeStep(engine);
  const what = `M=${limit} D=${copies}`;
  const { shared, sharing } = selftestFormula(copies, limit);
  expect([counters.pages_shared, counters.pages_sharing], what).toEqual([shared, sharing]);
  expect(counters, what).toMatchObject(closedForm([copies], limit));
  expect(counters.full_scans, what).toBeGreaterThanOrEqual(2);
  expect(counters.ksm_ptes, what).toBe(shared + sharing);
  expect(isFilled(guest, STAR), what).toBe(true);
  // The next combination is a region of its own, as in a fresh process.
  await guest.unmergeable();
}

describeEngines("selftests", (kind) => {
  it("K1: 10 equal pages are one frame", async () => {
    await withEngine(kind, {}, async (engine) => {
      await prepare(engine);
      const guest = engine.createGuest({ bytes: 10 * PAGE });
      guest.fill(0, guest.bytes, STAR);
      expect(await mergeStep(engine)).toMatchObject({ pages_shared: 1, pages_sharing: 9 });
      expect(engine.stats().frames.used).toBe(1);
    });
  });

  it.each(LIMITS)("K1b: any number of equal pages at max_page_sharing %i", async (limit) => {
    await withEngine(kind, {}, async (engine) => {
      for (const copies of COPIES) await sweep(engine, limit, copies);
    });
  });

  it("K2: two merged pages, both written, are unmerged by the next scan", async () => {
    await withEngine(kind, {}, async (engine) => {
      await prepare(engine);
      const guest = engine.createGuest({ bytes: 2 * PAGE });
      guest.fill(0, guest.bytes, STAR);
      expect(await mergeStep(engine)).toMatchObject({ pages_shared: 1, pages_sharing: 1 });
      guest.write(0, Buffer.from("-"));
      guest.write(PAGE, Buffer.from("+"));
      expect(await mergeStep(engine, 1)).toMatchObject({ pages_shared: 0, pages_sharing: 0 });
      const expected = Buffer.alloc(2 * PAGE, STAR);
      expected.write("-", 0);
      expected.write("+", PAGE);
      expect(expected.equals(guest.read(0, guest.bytes))).toBe(true);
      expect(engine.stats().counters.cow_ksm).toBe(2);
    });
  });

  it.each([
    { title: "K5: equal pages of two nodes are one frame", across: 1 as const, counts: [2] },
    { title: "K6: or one on each", across: 0 as const, counts: [1, 1] },
  ])("$title, with merge_across_nodes $across", async ({ across, counts }) => {
    await withEngine(kind, { nodes: 2 }, async (engine) => {
      await prepare(engine);
      await engine.ksm.set({ mergeAcrossNodes: across });
      for (const node of [0, 1]) {
        const guest = engine.createGuest({ bytes: PAGE, node });
        guest.fill(0, PAGE, STAR);
        await mergeStep(engine);
      }
      expect(engine.stats().counters).toMatchObject(closedForm(counts, 256));
    });
  });

  it("R1: a merged page of many guests moves to another node with all of them", async () => {
    await withEngine(kind, { nodes: 2 }, async (engine) => {
      await prepare(engine);
      const guests = Array.from({ length: 121 }, () => engine.createGuest({ bytes: PAGE }));
      for (const guest of guests) guest.fill(0, PAGE, 0xcf);
      expect(await mergeStep(engine)).toMatchObject(closedForm([121], 256));
      const one = guests[77] as EngineGuest;
      const [before] = await pfnsOf(engine, one);
      const to = engine.stats().nodes[0]?.used === 0 ? 0 : 1;
      // Only the frame: the others' homes stay where they are.
      expect(await engine.migrate({ guest: one, to })).toMatchObject({ succeeded: 1 });
      const [after] = await pfnsOf(engine, one);
      expect(after).not.toBe(before);
      expect(await pfnsOfAll(engine, guests)).toEqual(guests.map(() => [after]));
      for (const guest of guests) expect(isFilled(guest, 0xcf)).toBe(true);
      expect(engine.stats().nodes[to]?.used).toBe(1);
    });
  });

  it("K9, F1: a merged region made unmergeable has a frame for each page", async () => {
    await withEngine(kind, {}, async (engine) => {
      await prepare(engine);
      const guest = engine.createGuest({ bytes: 512 * PAGE });
      guest.fill(0, guest.bytes, 0xcf);
      const merged = {
        pages_shared: 2,
        pages_sharing: 510,
        stable_node_chains: 1,
        stable_node_dups: 2,
      };
      expect(await mergeStep(engine)).toMatchObject({ ...merged, ksm_ptes: 512 });
      expect(engine.stats().frames.used).toBe(2);
      await guest.unmergeable();
      expect(engine.stats().counters).toMatchObject({ ...closedForm([], 256), ksm_ptes: 0 });
      expect(engine.stats().frames.used).toBe(512);
      expect(isFilled(guest, 0xcf)).toBe(true);
    });
  });

  it("K10: writing every second page of 2,000 merged pairs copies 2,000 pages", async () => {
    await withEngine(kind, {}, async (engine) => {
      await prepare(engine);
      const guest = engine.createGuest({ bytes: 4000 * PAGE });
      const word = new Uint8Array(4);
      const view = new DataView(word.buffer);
      for (let gfn = 0; gfn < 4000; gfn++) {
        view.setUint32(0, 1 + (gfn >>> 1));
        guest.write(gfn * PAGE + 8, word);
      }
      expect(await mergeStep(engine)).toMatchObject({ pages_shared: 2000, pages_sharing: 2000 });
      for (let gfn = 0; gfn < 4000; gfn += 2) guest.write(gfn * PAGE, Uint8Array.of(1));
      expect(engine.stats().counters).toMatchObject({ cow_ksm: 2000, ksm_ptes: 2000 });
      expect(engine.stats().frames.used).toBe(4000);
      expect(await mergeStep(engine, 3)).toMatchObject({ pages_shared: 2000, pages_sharing: 0 });
      for (let gfn = 0; gfn < 4000; gfn++) {
        expect(guest.read(gfn * PAGE, 1)[0]).toBe((gfn + 1) % 2);
        expect(Buffer.from(guest.read(gfn * PAGE + 8, 4)).readUInt32BE()).toBe(1 + (gfn >>> 1));
      }
    });
  });
});
