/** micro - single operations, in nanoseconds. */
import type { Case, Plan } from "../case.js";
import { type Effort, nanosecondsPerCall } from "../micro/benchmark-js.js";
import { consumingRows, repeatableRows } from "../micro/rows.js";
import { type World, withWorld } from "../micro/world.js";
import { createPages, MIXES, type Mix } from "../mix.js";
import { withRig } from "../rig.js";
import { interleave, summarize } from "../summary.js";
import { type Column, type Finding, type Row, VOID } from "../table.js";

const MIB = 2 ** 20;

const COLUMNS: readonly Column[] = [
  { key: "ns", group: "", title: "ns", unit: "ns", spread: true },
  { key: "rate", group: "", title: "million/s", unit: "calls/s", spread: false },
];

interface Size {
  /** Pages of the rig's guest: more than a block has frames. */
  readonly image: number;
  /** Pages of each other guest: more than the TLB has entries. */
  readonly guests: number;
  readonly memoryPerNode: number;
  readonly blockBytes?: number;
  readonly rounds: number;
  readonly effort: Effort;
}

const FULL: Size = {
  image: 20_480,
  guests: 4096,
  memoryPerNode: 192 * MIB,
  rounds: 3,
  effort: { sampleSeconds: 0.02, samples: 5 },
};

const QUICK: Size = {
  image: 1280,
  guests: 640,
  memoryPerNode: 16 * MIB,
  blockBytes: 4 * MIB,
  rounds: 1,
  effort: { sampleSeconds: 0.001, samples: 1 },
};

export const microCase: Case = { name: "micro", usesKernel: false, run: micro };

async function micro(plan: Plan): Promise<Finding> {
  const size = plan.quick ? QUICK : FULL;
  const source = createPages(MIXES[0] as Mix, size.image);
  const { memoryPerNode } = size;
  const options = size.blockBytes
    ? { memoryPerNode, blockBytes: size.blockBytes }
    : { memoryPerNode };
  const { value: rows, problems } = await withRig(source, options, (rig, found) =>
    withWorld(rig, size.guests, found, (world) => measure(world, size, plan, found)),
  );
  const cells = problems.length > 0 ? rows.map(voided) : rows;
  return {
    table: {
      id: "micro",
      title: `single operations; rounds: ${size.rounds}`,
      columns: COLUMNS,
      rows: cells,
      notes: ["pages and words lie in the cache, frames of write faults do not"],
    },
    floors: [],
    problems: problems.map((problem) => `micro: ${problem}`),
  };
}

function voided({ name }: Row): Row {
  return { name, cells: { ns: VOID, rate: VOID } };
}

async function measure(world: World, size: Size, plan: Plan, problems: string[]): Promise<Row[]> {
  const samples = new Map<string, number[]>();
  const add = (title: string, ns: number): void => {
    plan.tell(`single operations: ${title}`);
    samples.set(title, [...(samples.get(title) ?? []), ns]);
  };
  const repeatable = repeatableRows(world).map(({ title, calls, body }) => () => {
    add(title, nanosecondsPerCall(body, size.effort) / calls);
  });
  const consumed = consumingRows(world);
  // The first time is V8's: it has not seen the fault paths yet.
  for (const { prepare } of consumed) (await prepare())();
  const consuming = consumed.map(({ title, calls, prepare, counted }) => async () => {
    const body = await prepare();
    const before = counted();
    const started = performance.now();
    body();
    add(title, ((performance.now() - started) * 1e6) / calls);
    const done = counted() - before;
    if (done !== calls) problems.push(`${title}: ${done} were done, not ${calls}`);
  });
  await interleave([...repeatable, ...consuming], { rounds: size.rounds, seconds: 30 });
  return [...samples].map(([name, ns]) => ({
    name,
    cells: { ns: summarize(ns), rate: summarize(ns.map((each) => 1e9 / each)) },
  }));
}
