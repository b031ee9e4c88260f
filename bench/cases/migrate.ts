/**
 * migrate - frames moved between two nodes by one migrator, beside the copy of as many pages: private frames, and
 * KSM frames with few and with many sharers; and blocks that are emptied and taken away.
 */
import { type Memory, nodeOf } from "../../dist/base/memory.js";
import { createBatch, MIGRATED, OUTCOMES } from "../../dist/migrate/batch.js";
import { migrateFrames } from "../../dist/migrate/migrate.js";
import { allocFrameOn, putPage } from "../../dist/mm/frames.js";
import { guestPages } from "../../dist/mm/guest.js";
import type { Case, Plan } from "../case.js";
import { count } from "../format.js";
import { framesOf, withMemory } from "../frames.js";
import { createPages, type Mix, PAGE } from "../mix.js";
import { type Rig, withRig } from "../rig.js";
import { interleave, summarize } from "../summary.js";
import { type Cell, type Column, type Finding, NONE, type Row, VOID } from "../table.js";

const MIB = 2 ** 20;
const PAGES = 65_536;
const ROUNDS = 8;
/** Pages of the guest that share a frame. */
const SHARERS = [1, 16, 256];

const COLUMNS: readonly Column[] = [
  { key: "frames", group: "", title: "frames/s", unit: "pages/s", spread: true },
  { key: "ptes", group: "", title: "ptes/s", unit: "pages/s", spread: true },
  { key: "mib", group: "", title: "MiB/s", unit: "MiB/s", spread: false },
  { key: "part", group: "", title: "of the copy", unit: "percent", spread: true },
];

export const migrateCase: Case = { name: "migrate", usesKernel: false, run: migrate };

/** Nanoseconds of each round. */
interface Times {
  readonly frames: number;
  /** Ptes that map them. */
  readonly pages: number;
  readonly copy: readonly number[];
  readonly move: readonly number[];
}

interface Measured {
  readonly times: Times;
  readonly problems: readonly string[];
}

async function migrate(plan: Plan): Promise<Finding> {
  const pages = plan.quick ? plan.pages : Math.min(PAGES, plan.pages);
  plan.tell("migration of private frames");
  const own = await measure(plan, pages, null);
  const rows: Row[] = [
    {
      name: "copy, to the other node",
      cells: { ...figures(own, own.times.copy), ptes: NONE },
    },
    { name: "private frames", cells: figures(own, own.times.move) },
  ];
  const problems = [...own.problems];
  for (const sharers of SHARERS) {
    plan.tell(`migration of KSM frames of ${sharers}`);
    const shared = await measure(plan, pages, sharers);
    const name = `KSM frames of ${sharers} ${sharers === 1 ? "page" : "pages"}`;
    rows.push({ name, cells: figures(shared, shared.times.move) });
    problems.push(...shared.problems.map((problem) => `${name}: ${problem}`));
  }
  plan.tell("blocks taken away");
  const blocks = await takeAway(plan, pages);
  rows.push({ name: "blocks taken away", cells: figures(blocks, blocks.times.move) });
  problems.push(...blocks.problems.map((problem) => `blocks taken away: ${problem}`));
  const size = `${count(pages)} pages (${count((pages * PAGE) / MIB)} MiB)`;
  return {
    table: {
      id: "migrate",
      title: `migration between two nodes: ${size}, one migrator; rounds: ${own.times.move.length}`,
      columns: COLUMNS,
      rows,
      notes: [
        "of the copy = beside copying the same frames, in each round; blocks taken away =",
        "offline(), of blocks all of whose frames are in use, which each thread lets go of",
      ],
    },
    floors: [],
    problems: problems.map((problem) => `migrate: ${problem}`),
  };
}

/** `sharers`: null for private frames. */
async function measure(plan: Plan, pages: number, sharers: number | null): Promise<Measured> {
  const source = createPages(alike(sharers ?? 1), pages);
  // A merged page that is to be alone takes a second one to merge it with.
  const memoryPerNode = source.byteLength * (sharers === 1 ? 3 : 1.25);
  const options = { nodes: 2, memoryPerNode };
  const { value: times, problems } = await withRig(source, options, async (rig, found) => {
    if (sharers !== null) await merge(rig, source, sharers);
    const { engine, guest } = rig;
    return withMemory(engine.handle, (memory) => move(plan, memory, guest.id, found));
  });
  return { times, problems };
}

/** `alike` pages of each content. */
function alike(alike: number): Mix {
  return {
    name: `${alike}`,
    title: `${alike} alike`,
    content: (page, pages) => page % (pages / alike),
    shared: (pages) => (alike === 1 ? 0 : pages / alike),
  };
}

async function merge({ engine, guest }: Rig, source: SharedArrayBuffer, sharers: number) {
  await engine.ksm.set({ run: 1, pagesToScan: 0 });
  const twin = sharers === 1 ? engine.createGuest({ bytes: guest.bytes }) : null;
  twin?.write(0, new Uint8Array(source));
  await engine.ksm.scan(2);
  await twin?.unmergeable();
  await engine.ksm.set({ run: 0 });
}

/** Takes blocks away that are full, by turns with adding others. */
async function takeAway(plan: Plan, pages: number): Promise<Measured> {
  const source = createPages(alike(1), pages);
  const blockBytes = source.byteLength / 8;
  const memoryPerNode = 2 * source.byteLength;
  const frames = blockBytes / PAGE;
  const move: number[] = [];
  const { problems } = await withRig(source, { memoryPerNode, blockBytes }, async ({ engine }) => {
    const round = async () => {
      const full = engine.blocks().find(({ free }) => free === 0);
      if (full === undefined) throw new Error("no block is full");
      const started = performance.now();
      await engine.offlineBlock(full.block);
      move.push((performance.now() - started) * 1e6);
      await engine.addBlock(full.node);
    };
    // The first is V8's.
    await round();
    move.length = 0;
    await interleave([round], { rounds: plan.quick ? 2 : ROUNDS, seconds: 10 });
  });
  return { times: { frames, pages: frames, copy: [], move }, problems };
}

/** Moves the frames to the other node and back, by turns with copying them there. */
async function move(plan: Plan, memory: Memory, guest: number, problems: string[]): Promise<Times> {
  const batch = createBatch(memory);
  const frames = (): Int32Array => Int32Array.from(new Set(framesOf(memory, guest)));
  let pfns = frames();
  const copy: number[] = [];
  const moved: number[] = [];
  const rounds = [
    () => {
      const spare = takeFrames(memory, nodeElsewhere(memory, pfns), pfns.length);
      const started = performance.now();
      for (let i = 0; i < pfns.length; i++) {
        memory.kernels.copyPage(spare[i] as number, pfns[i] as number);
      }
      copy.push((performance.now() - started) * 1e6);
      for (const pfn of spare) putPage(memory, pfn);
    },
    () => {
      const tally = new Int32Array(OUTCOMES);
      const to = nodeElsewhere(memory, pfns);
      const started = performance.now();
      migrateFrames(memory, pfns, to, batch, tally);
      moved.push((performance.now() - started) * 1e6);
      const stayed = pfns.length - (tally[MIGRATED] as number);
      if (stayed > 0) problems.push(`${stayed} of ${pfns.length} frames were not moved`);
      pfns = frames();
    },
  ];
  // There and back: touches both nodes, and gives V8 what it wants to see before it optimizes.
  await interleave(rounds, { rounds: plan.quick ? 1 : 4, seconds: 10 });
  copy.length = 0;
  moved.length = 0;
  await interleave(rounds, { rounds: plan.quick ? 2 : ROUNDS, seconds: 10 });
  return { frames: pfns.length, pages: guestPages(memory, guest), copy, move: moved };
}

function nodeElsewhere(memory: Memory, pfns: Int32Array): number {
  return 1 - nodeOf(memory, pfns[0] as number);
}

function takeFrames(memory: Memory, nid: number, count: number): Int32Array {
  const pfns = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    pfns[i] = allocFrameOn(memory, nid, 0, 0);
    if (pfns[i] === -1) throw new Error(`node ${nid} has ${i} of ${count} frames to spare`);
  }
  return pfns;
}

/** Cells of the row whose rounds took `times`. */
function figures({ times, problems }: Measured, nanoseconds: readonly number[]): Row["cells"] {
  const { frames, pages, copy } = times;
  const cell = (figure: (ns: number, round: number) => number): Cell =>
    problems.length > 0 ? VOID : summarize(nanoseconds.map(figure));
  return {
    frames: cell((ns) => (frames * 1e9) / ns),
    ptes: cell((ns) => (pages * 1e9) / ns),
    mib: cell((ns) => (frames * PAGE * 1e9) / MIB / ns),
    part: copy.length === 0 ? NONE : cell((ns, round) => (100 * (copy[round] as number)) / ns),
  };
}
