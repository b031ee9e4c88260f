/**
 * The Linux Test Project's ksm01 in its small size: three processes (guests) of 8 pages, every phase with
 * its exact counters, and every byte verified between the phases.
 *
 * ksm02 to ksm04 vary the placement of the same scenario by cpusets and memory limits, which become options
 * of the engine: one node, and frames for the pages and what is in flight. ksm05 needs processes that die, ksm07
 * smart_scan; neither exists here yet.
 */
import { expect, it } from "vitest";
import type { Engine, EngineGuest, EngineOptions } from "../../dist/index.js";
import { describeEngines, type Kind, PAGE, pages, withEngine } from "./engines.js";

const P = 8;
const V = 3;
const N = P * V;

interface Phase {
  readonly fills: string;
  /** Processes whose very last byte is `e` instead. */
  readonly lastByte: readonly number[];
  readonly shared: number;
  readonly sharing: number;
  readonly unshared: number;
}

const PHASES: readonly Phase[] = [
  { fills: "caa", lastByte: [], shared: 2, sharing: N - 2, unshared: 0 },
  { fills: "cba", lastByte: [], shared: 3, sharing: N - 3, unshared: 0 },
  { fills: "ddd", lastByte: [], shared: 1, sharing: N - 1, unshared: 0 },
  { fills: "ddd", lastByte: [1], shared: 1, sharing: N - 2, unshared: 1 },
];

/** What a process wrote in the phase. */
function content(phase: Phase, process: number): Buffer {
  const bytes = Buffer.alloc(P * PAGE, phase.fills[process]);
  if (phase.lastByte.includes(process)) bytes.write("e", bytes.length - 1);
  return bytes;
}

function verify(guests: readonly EngineGuest[], phase: Phase): void {
  guests.forEach((guest, process) => {
    expect(content(phase, process).equals(guest.read(0, guest.bytes))).toBe(true);
  });
}

/** Samples with ksmd stopped, as LTP does, and lets it run on as before. */
async function sample(engine: Engine): Promise<number[]> {
  const { run } = engine.ksm.knobs;
  await engine.ksm.set({ run: 0 });
  const { counters, knobs } = engine.stats();
  expect(knobs).toMatchObject({ sleepMillisecs: 0, pagesToScan: N, maxPageSharing: N });
  await engine.ksm.set({ run });
  return [run, ...pages(counters)];
}

async function ksm01(kind: Kind, more: EngineOptions): Promise<void> {
  await withEngine(kind, more, async (engine) => {
    const guests = Array.from({ length: V }, () => engine.createGuest({ bytes: P * PAGE }));
    await engine.ksm.set({ run: 2 });
    await engine.ksm.set({ maxPageSharing: N });
    await engine.ksm.set({ run: 1, pagesToScan: N, sleepMillisecs: 0 });
    for (const phase of PHASES) {
      // ksmd runs on meanwhile, so one scan that is under way and two full ones are waited for.
      guests.forEach((guest, process) => {
        guest.write(0, content(phase, process));
      });
      await engine.ksm.scan(3);
      expect(await sample(engine)).toEqual([1, phase.shared, phase.sharing, 0, phase.unshared]);
      verify(guests, phase);
    }
    await engine.ksm.set({ run: 2 });
    expect(await sample(engine)).toEqual([2, 0, 0, 0, 0]);
    verify(guests, PHASES[3]);
    expect(engine.stats().counters.ksm_ptes).toBe(0);
    expect(engine.stats().frames.used).toBe(N);
    await engine.ksm.set({ run: 0 });
    expect(await sample(engine)).toEqual([0, 0, 0, 0, 0]);
    verify(guests, PHASES[3]);
  });
}

/** 100 pages of one content on each node: merged across nodes, and then on each. */
async function ksm06(kind: Kind, nodes: number): Promise<void> {
  await withEngine(kind, { nodes }, async (engine) => {
    const bytes = 100 * PAGE;
    const guests = Array.from({ length: nodes }, (_, node) => engine.createGuest({ bytes, node }));
    for (const guest of guests) guest.fill(0, bytes, 10);
    const all = 100 * nodes;
    await engine.ksm.set({ sleepMillisecs: 0, pagesToScan: all, maxPageSharing: all });
    const found: number[][] = [];
    for (const mergeAcrossNodes of [1, 0] as const) {
      await engine.ksm.set({ run: 2 });
      await engine.ksm.set({ mergeAcrossNodes });
      await engine.ksm.set({ run: 1 });
      await engine.ksm.scan(3);
      await engine.ksm.set({ run: 0 });
      found.push(pages(engine.stats().counters));
    }
    await engine.ksm.set({ run: 2 });
    expect(found).toEqual([
      [1, all - 1, 0, 0],
      [nodes, all - nodes, 0, 0],
    ]);
    expect(pages(engine.stats().counters)).toEqual([0, 0, 0, 0]);
    const content = Buffer.alloc(bytes, 10);
    for (const guest of guests) expect(content.equals(guest.read(0, bytes))).toBe(true);
  });
}

describeEngines("LTP", (kind) => {
  it.each([2, 4])("ksm06: merge_across_nodes 1 and 0 on %i nodes", async (nodes) => {
    await ksm06(kind, nodes);
  });

  it("ksm01: three processes that share more and less (phases 1 to 6)", async () => {
    await ksm01(kind, {});
  });

  it("ksm02, ksm03, ksm04: the same on one node, in little memory", async () => {
    await ksm01(kind, { nodes: 1, memoryPerNode: 8 * 64 * 1024, blockBytes: 64 * 1024 });
  });
});
