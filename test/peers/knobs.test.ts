/**
 * The knobs' contracts, and what follows from them: rows C of shared/spec/ksm-semantics.md section 4.5.
 *
 * Rows that are not here: C7 C8 C9 (no advisor yet), C20 (no use_zero_pages yet), C21 C22 (no clones yet),
 * C24 (no smart_scan yet). Their knobs are refused by name.
 */
import { expect, it } from "vitest";
import type { Engine, EngineGuest, Knobs } from "../../dist/index.js";
import { closedForm } from "../oracle/closed-form.js";
import { codeOf, describeEngines, mergeStep, PAGE, prepare, withEngine } from "./engines.js";

const HOUR = 3_600_000;

const NODES = { nodes: 2 };

function filled(engine: Engine, pages: number, byte = 7, node = 0): EngineGuest {
  const guest = engine.createGuest({ bytes: pages * PAGE, node });
  guest.fill(0, guest.bytes, byte);
  return guest;
}

/** Sets what TypeScript would not let a caller set. */
function setAny(engine: Engine, knobs: Record<string, unknown>): Promise<void> {
  return engine.ksm.set(knobs as Partial<Knobs>);
}

/** Resolves once ksmd has ended `passes` passes more. Listens first, so none is missed. */
function passes(engine: Engine, count: number): Promise<void> {
  return new Promise((resolve) => {
    let left = count;
    const onPass = () => {
      left--;
      if (left > 0) return;
      engine.off("pass", onPass);
      resolve();
    };
    engine.on("pass", onPass);
  });
}

describeEngines("knob contracts", (kind) => {
  const hasWorkers = kind.options.workers !== false;

  it("start with the kernel's defaults", async () => {
    await withEngine(kind, {}, async (engine) => {
      const scan = { run: 0, pagesToScan: 100, sleepMillisecs: 20 };
      const defaults = { ...scan, maxPageSharing: 256, mergeAcrossNodes: 1 };
      expect(engine.ksm.knobs).toEqual(defaults);
      expect(engine.stats().knobs).toEqual(defaults);
    });
  });

  it("C1: run takes 0, 1 and 2", async () => {
    await withEngine(kind, {}, async (engine) => {
      filled(engine, 4);
      await mergeStep(engine);
      const before = engine.stats();
      for (const run of [3, -1, 1.5, "x", "1", null, Number.NaN, true]) {
        expect(await codeOf(() => setAny(engine, { run })), `run = ${run}`).toBe("EINVAL");
      }
      expect(engine.stats()).toEqual(before);
    });
  });

  it("C2: a second run = 2 does nothing; after run = 1 it unmerges again", async () => {
    await withEngine(kind, {}, async (engine) => {
      filled(engine, 4);
      expect(await mergeStep(engine)).toMatchObject({ pages_shared: 1, pages_sharing: 3 });
      await engine.ksm.set({ run: 2 });
      const unmerged = engine.stats();
      expect(unmerged.counters).toMatchObject({ ...closedForm([], 256), ksm_ptes: 0 });
      await engine.ksm.set({ run: 2 });
      expect(engine.stats()).toEqual(unmerged);
      expect(await mergeStep(engine)).toMatchObject({ pages_shared: 1, pages_sharing: 3 });
      await engine.ksm.set({ run: 2 });
      expect(engine.stats().counters).toMatchObject({ ...closedForm([], 256), ksm_ptes: 0 });
    });
  });

  it("C3: max_page_sharing takes integers from 2", async () => {
    await withEngine(kind, {}, async (engine) => {
      for (const maxPageSharing of [1, 0, -5, 2.5, "16", Number.POSITIVE_INFINITY]) {
        const code = await codeOf(() => setAny(engine, { maxPageSharing }));
        expect(code, `max_page_sharing = ${maxPageSharing}`).toBe("EINVAL");
      }
      expect(engine.ksm.knobs.maxPageSharing).toBe(256);
      await engine.ksm.set({ maxPageSharing: 2 });
      expect(engine.ksm.knobs.maxPageSharing).toBe(2);
    });
  });

  it("C4: max_page_sharing does not change while pages are merged", async () => {
    await withEngine(kind, {}, async (engine) => {
      filled(engine, 4);
      await mergeStep(engine);
      expect(await codeOf(() => engine.ksm.set({ maxPageSharing: 16 }))).toBe("EBUSY");
      expect(engine.ksm.knobs.maxPageSharing).toBe(256);
      // All or nothing: the other knobs of the call have not changed either.
      expect(await codeOf(() => engine.ksm.set({ pagesToScan: 7, maxPageSharing: 16 }))).toBe(
        "EBUSY",
      );
      expect(engine.ksm.knobs.pagesToScan).toBe(100);
      expect(await codeOf(() => engine.ksm.set({ maxPageSharing: 256 }))).toBeNull();
    });
  });

  it("C4: merge_across_nodes does not change while pages are merged", async () => {
    await withEngine(kind, NODES, async (engine) => {
      filled(engine, 2, 7, 0);
      filled(engine, 2, 7, 1);
      await engine.ksm.set({ mergeAcrossNodes: 0 });
      expect(await mergeStep(engine)).toMatchObject(closedForm([2, 2], 256));
      expect(await codeOf(() => engine.ksm.set({ mergeAcrossNodes: 1 }))).toBe("EBUSY");
      const both = { pagesToScan: 7, mergeAcrossNodes: 1 } as const;
      expect(await codeOf(() => engine.ksm.set(both))).toBe("EBUSY");
      expect(engine.ksm.knobs).toMatchObject({ pagesToScan: 100, mergeAcrossNodes: 0 });
      expect(await codeOf(() => engine.ksm.set({ mergeAcrossNodes: 0 }))).toBeNull();
      expect(engine.stats().counters).toMatchObject(closedForm([2, 2], 256));
    });
  });

  it("C5: after run = 2 merge_across_nodes changes, and later fills obey it", async () => {
    await withEngine(kind, NODES, async (engine) => {
      filled(engine, 20, 7, 0);
      filled(engine, 30, 7, 1);
      expect(await mergeStep(engine)).toMatchObject(closedForm([50], 256));
      await engine.ksm.set({ run: 2 });
      await engine.ksm.set({ mergeAcrossNodes: 0, maxPageSharing: 16 });
      expect(await mergeStep(engine)).toMatchObject(closedForm([20, 30], 16));
      await engine.ksm.set({ run: 2, mergeAcrossNodes: 1 });
      expect(await mergeStep(engine)).toMatchObject(closedForm([50], 16));
    });
  });

  it("C6: merge_across_nodes takes 0 and 1", async () => {
    await withEngine(kind, NODES, async (engine) => {
      for (const mergeAcrossNodes of [2, -1, 0.5, "0", true, null]) {
        const code = await codeOf(() => setAny(engine, { mergeAcrossNodes }));
        expect(code, `merge_across_nodes = ${mergeAcrossNodes}`).toBe("EINVAL");
      }
      expect(engine.ksm.knobs.mergeAcrossNodes).toBe(1);
    });
  });

  it("C25: a merged frame that moves to where an equal page lies ends up with it", async () => {
    await withEngine(kind, { ...NODES, ksm: { mergeAcrossNodes: 0 } }, async (engine) => {
      const a = filled(engine, 3, 7, 0);
      const b = filled(engine, 1, 7, 1);
      expect(await mergeStep(engine)).toMatchObject(closedForm([3, 1], 256));
      expect(await engine.migrate({ guest: a, to: 1 })).toMatchObject({ succeeded: 1 });
      expect(await mergeStep(engine)).toMatchObject(closedForm([4], 256));
      const c = filled(engine, 2, 7, 0);
      expect(await mergeStep(engine)).toMatchObject(closedForm([4, 2], 256));
      // Two frames of several pages each become a chain.
      expect(await engine.migrate({ guest: c, to: 1 })).toMatchObject({ succeeded: 1 });
      const chain = { stable_node_chains: 1, stable_node_dups: 2 };
      expect(await mergeStep(engine)).toMatchObject({ ...closedForm([4, 2], 256), ...chain });
      for (const guest of [a, b, c]) expect(guest.read(0, 1)[0]).toBe(7);
      expect(engine.stats().nodes.map(({ used }) => used)).toEqual([0, 2]);
    });
  });

  it("C5: after run = 2 it changes, and later fills obey it", async () => {
    await withEngine(kind, {}, async (engine) => {
      filled(engine, 40);
      expect(await mergeStep(engine)).toMatchObject(closedForm([40], 256));
      await engine.ksm.set({ run: 2 });
      await engine.ksm.set({ maxPageSharing: 16 });
      expect(await mergeStep(engine)).toMatchObject(closedForm([40], 16));
      // In one call the unmerge comes first.
      await engine.ksm.set({ run: 2, maxPageSharing: 3 });
      expect(await mergeStep(engine)).toMatchObject(closedForm([40], 3));
    });
  });

  it("C7 to C9: knobs that do not exist are refused by name", async () => {
    await withEngine(kind, {}, async (engine) => {
      for (const knob of ["advisorMode", "smartScan", "useZeroPages", "toString"]) {
        expect(await codeOf(() => setAny(engine, { [knob]: 1 })), knob).toBe("EINVAL");
      }
      const message = setAny(engine, { smartScan: 1 });
      await expect(message).rejects.toThrow(/no knob smartScan.*run, pagesToScan/);
    });
  });

  // Without workers nothing scans between calls, and a scan that is asked for is done whole.
  if (hasWorkers) {
    it("C10: pages_to_scan = 0 scans nothing", async () => {
      await withEngine(kind, {}, async (engine) => {
        filled(engine, 4);
        await engine.ksm.set({ pagesToScan: 0, sleepMillisecs: 0, run: 1 });
        const before = engine.stats().counters;
        // ksmd takes a command between two batches: a hundred answers are dozens of empty batches at least.
        for (let call = 0; call < 100; call++) await engine.ksm.set({ pagesToScan: 0 });
        expect(engine.stats().counters).toEqual(before);
        expect(before).toMatchObject({ full_scans: 0, pages_scanned: 0, pages_volatile: 0 });
        const passed = passes(engine, 2);
        await engine.ksm.set({ pagesToScan: 1 });
        await passed;
      });
    });

    it("C11: sleep_millisecs from an hour to 0 wakes ksmd at once", async () => {
      await withEngine(kind, {}, async (engine) => {
        filled(engine, 8);
        await engine.ksm.set({ pagesToScan: 1, sleepMillisecs: HOUR, run: 1 });
        expect(engine.stats().counters.full_scans).toBe(0);
        const passed = passes(engine, 3);
        await engine.ksm.set({ sleepMillisecs: 0 });
        await passed;
        await engine.ksm.set({ run: 0 });
        expect(engine.stats().counters).toMatchObject(closedForm([8], 256));
      });
    });
  }

  it("C12: a region that was never touched has no items, and is scanned once it has", async () => {
    await withEngine(kind, {}, async (engine) => {
      const guest = engine.createGuest({ bytes: 64 * PAGE, mergeable: false });
      await guest.mergeable();
      guest.read(0, guest.bytes);
      const empty = { ...closedForm([], 256), pages_scanned: 0, general_profit: 0 };
      const counters = await mergeStep(engine);
      expect(counters).toMatchObject(empty);
      // The guest has a region that may be merged: passes over it count.
      expect(counters.full_scans).toBeGreaterThanOrEqual(2);
      expect(engine.stats().frames.used).toBe(0);
      guest.fill(0, guest.bytes, 0);
      expect(await mergeStep(engine)).toMatchObject(closedForm([64], 256));
    });
  });

  it("C12: without any guest there are no passes, and nobody waits for one", async () => {
    await withEngine(kind, { ksm: { run: 1 } }, async (engine) => {
      expect(await engine.ksm.scan(3)).toMatchObject({ full_scans: 0, pages_scanned: 0 });
      await engine.settled();
      filled(engine, 3);
      expect(await engine.ksm.scan(3)).toMatchObject(closedForm([3], 256));
    });
  });

  it("C13: making a region unmergeable that never was mergeable succeeds", async () => {
    await withEngine(kind, {}, async (engine) => {
      const guest = engine.createGuest({ bytes: 8 * PAGE, mergeable: false });
      guest.fill(0, guest.bytes, 1);
      await guest.unmergeable();
      await guest.unmergeable(PAGE, 2 * PAGE);
      expect(await mergeStep(engine)).toMatchObject(closedForm([], 256));
    });
  });

  it("C14: a page equal to a merged content merges at its second visit", async () => {
    await withEngine(kind, {}, async (engine) => {
      filled(engine, 10);
      expect(await mergeStep(engine)).toMatchObject({ pages_shared: 1, pages_sharing: 9 });
      const guest = filled(engine, 1);
      const first = { pages_shared: 1, pages_sharing: 9, pages_volatile: 1, pages_unshared: 0 };
      await prepareOneByOne(engine);
      expect(await onePass(engine)).toMatchObject(first);
      expect(await onePass(engine)).toMatchObject(closedForm([11], 256));
      expect(guest.read(0, 1)[0]).toBe(7);
    });
  });

  it("C15: a page written between every two scans stays volatile", async () => {
    await withEngine(kind, {}, async (engine) => {
      const guest = filled(engine, 2);
      filled(engine, 2, 9);
      await prepareOneByOne(engine);
      for (let pass = 1; pass <= 12; pass++) {
        guest.write(3, Uint8Array.of(pass));
        const { pages_scanned, pages_volatile } = await onePass(engine);
        expect([pages_scanned, pages_volatile], `pass ${pass}`).toEqual([
          4 * pass,
          pass === 1 ? 4 : 1,
        ]);
      }
      const rest = { pages_shared: 1, pages_sharing: 1, pages_unshared: 1, cow_ksm: 0 };
      expect(engine.stats().counters).toMatchObject(rest);
    });
  });

  it("C16: a merged page rewritten with its own content merges again after two visits", async () => {
    // The reference version's rule: what was written is looked at one pass later, however equal it is.
    await withEngine(kind, {}, async (engine) => {
      const guest = filled(engine, 3);
      await mergeStep(engine);
      guest.write(PAGE + 100, Uint8Array.of(1));
      guest.write(PAGE + 100, Uint8Array.of(7));
      expect(engine.stats().counters).toMatchObject({ cow_ksm: 1, ksm_ptes: 2, pages_sharing: 2 });
      await prepareOneByOne(engine);
      const first = { pages_shared: 1, pages_sharing: 1, pages_volatile: 1 };
      expect(await onePass(engine)).toMatchObject(first);
      expect(await onePass(engine)).toMatchObject(closedForm([3], 256));
    });
  });

  it("C17: all sharers but one write; the last one's write copies too", async () => {
    await withEngine(kind, {}, async (engine) => {
      const guest = filled(engine, 5);
      await mergeStep(engine);
      for (let gfn = 1; gfn < 5; gfn++) guest.write(gfn * PAGE, Uint8Array.of(gfn + 10));
      const alone = {
        pages_shared: 1,
        pages_sharing: 0,
        pages_unshared: 4,
        ksm_ptes: 1,
        cow_ksm: 4,
      };
      expect(await mergeStep(engine, 3)).toMatchObject(alone);
      guest.write(0, Uint8Array.of(10));
      expect(engine.stats().counters).toMatchObject({ cow_ksm: 5, ksm_ptes: 0 });
      expect(await mergeStep(engine, 3)).toMatchObject(closedForm([1, 1, 1, 1, 1], 256));
    });
  });

  it("C18: run = 2 resets full_scans and not pages_scanned", async () => {
    await withEngine(kind, {}, async (engine) => {
      filled(engine, 6);
      const { pages_scanned, full_scans } = await mergeStep(engine, 3);
      expect(full_scans).toBeGreaterThanOrEqual(3);
      await engine.ksm.set({ run: 2 });
      expect(engine.stats().counters).toMatchObject({ full_scans: 0, pages_scanned });
    });
  });

  it("C19: a chain is gone when one of its dups remains", async () => {
    await withEngine(kind, {}, async (engine) => {
      await prepare(engine, 2);
      const guest = filled(engine, 6);
      expect(await mergeStep(engine)).toMatchObject(closedForm([6], 2));
      // Which pages pair up is not said; written are all but two that share.
      for (let gfn = 0; gfn < 4; gfn++) guest.write(gfn * PAGE, Uint8Array.of(gfn + 10));
      const { stable_node_chains, stable_node_dups, pages_shared } = await mergeStep(engine, 3);
      const dups = pages_shared === 1 ? 0 : pages_shared;
      expect([stable_node_chains, stable_node_dups]).toEqual([dups > 0 ? 1 : 0, dups]);
      for (let gfn = 0; gfn < 6; gfn++) guest.write(gfn * PAGE, Uint8Array.of(gfn + 20));
      const ones = closedForm([1, 1, 1, 1, 1, 1], 2);
      expect(await mergeStep(engine, 3)).toMatchObject(ones);
    });
  });

  it("C23, for writes: while ksmd is stopped the counters stand still", async () => {
    // There are no guests that end yet. What a stopped ksmd has not seen, it counts as before.
    await withEngine(kind, {}, async (engine) => {
      const guest = filled(engine, 5);
      const before = await mergeStep(engine);
      guest.fill(0, guest.bytes, 8);
      const moved = { cow_ksm: 5, ksm_ptes: 0 };
      expect(engine.stats().counters).toEqual({ ...before, ...moved });
      await prepareOneByOne(engine);
      const volatile = { pages_shared: 0, pages_sharing: 0, pages_volatile: 5 };
      expect(await onePass(engine)).toMatchObject(volatile);
    });
  });
});

/** From here on `onePass` does exactly one pass, also where ksmd has a thread of its own. */
async function prepareOneByOne(engine: Engine): Promise<void> {
  await engine.ksm.set({ run: 0, pagesToScan: 0, sleepMillisecs: HOUR });
  await engine.ksm.set({ run: 1 });
}

/** One pass, and nothing more: between scans ksmd is asked for no pages. */
async function onePass(engine: Engine) {
  const { full_scans } = engine.stats().counters;
  await engine.ksm.scan(1);
  const { counters } = engine.stats();
  expect(counters.full_scans).toBe(full_scans + 1);
  return counters;
}
