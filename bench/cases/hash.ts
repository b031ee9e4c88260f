/**
 * hash - hashing pages in place against the read roofline: the same frames, in address order, beyond every
 * cache.
 */
import type { Memory } from "../../dist/base/memory.js";
import type { Case, Plan } from "../case.js";
import { count } from "../format.js";
import { framesOf, withFrames, withMemory } from "../frames.js";
import { createPages, MIXES, type Mix, PAGE } from "../mix.js";
import { withRig } from "../rig.js";
import { createReader } from "../roofline.js";
import { hashByStock } from "../subjects/stock.js";
import { interleave, summarize } from "../summary.js";
import { type Cell, type Column, type Finding, VOID } from "../table.js";

const MIB = 2 ** 20;
/** Pages handed to a kernel at a time, as ksmd does. */
const BATCH = 256;
const PAGES = 65_536;
const ROUNDS = 11;
/** Percent of the roofline, at least. */
const FLOOR = 60;

const COLUMNS: readonly Column[] = [
  { key: "rate", group: "", title: "pages/s", unit: "pages/s", spread: true },
  { key: "mib", group: "", title: "MiB/s", unit: "MiB/s", spread: false },
  { key: "part", group: "", title: "of roofline", unit: "percent", spread: true },
];

/** By row: nanoseconds of each round. */
interface Times {
  readonly read: number[];
  readonly hash: number[];
  readonly copy: number[];
  readonly stock: number[];
}

export const hashCase: Case = { name: "hash", usesKernel: false, run: hash };

async function hash(plan: Plan): Promise<Finding> {
  const pages = plan.quick ? plan.pages : Math.min(PAGES, plan.pages);
  plan.tell("hash and read roofline");
  const roofline = await plan.compileRoofline();
  const source = createPages(MIXES[0] as Mix, pages);
  const options = { memoryPerNode: 2 * source.byteLength };
  const { value: times, problems } = await withRig(source, options, ({ engine, guest }) =>
    withMemory(engine.handle, (memory) =>
      withFrames(memory, guest.id, pages, (spare) =>
        measure(
          { memory, roofline, pfns: framesOf(memory, guest.id), spare, bytes: Buffer.from(source) },
          plan.quick,
        ),
      ),
    ),
  );
  return describe(pages, times, problems);
}

interface Subject {
  readonly memory: Memory;
  readonly roofline: Uint8Array;
  readonly pfns: Int32Array;
  /** As many frames, to copy to. */
  readonly spare: Int32Array;
  /** What the frames hold. */
  readonly bytes: Buffer;
}

async function measure(subject: Subject, quick: boolean): Promise<Times> {
  const { memory, roofline, pfns, spare, bytes } = subject;
  const { kernels } = memory;
  const read = createReader(memory, roofline);
  const out = new Int32Array(2 * BATCH);
  const batches = runs(pfns);
  const work = {
    read: () => {
      for (const batch of batches) read(batch[0] as number, BATCH);
    },
    hash: () => {
      for (const batch of batches) kernels.hashPages(batch, BATCH, out);
    },
    copy: () => {
      for (let i = 0; i < pfns.length; i++) {
        kernels.copyPage(spare[i] as number, pfns[i] as number);
      }
    },
    stock: () => {
      hashByStock(bytes);
    },
  };
  const times: Times = { read: [], hash: [], copy: [], stock: [] };
  const names = Object.keys(work) as (keyof Times)[];
  // Touches the spare frames, and gives V8 what it wants to see before it optimizes.
  for (let warm = 0; warm < (quick ? 1 : 3); warm++) for (const name of names) work[name]();
  await interleave(
    names.map((name) => () => {
      const started = performance.now();
      work[name]();
      times[name].push(((performance.now() - started) * 1e6) / pfns.length);
    }),
    { rounds: quick ? 2 : ROUNDS, seconds: 10 },
  );
  return times;
}

/** Batches of frames that lie side by side, as a guest that was filled in one go has them. */
function runs(pfns: Int32Array): Int32Array[] {
  return Array.from({ length: pfns.length / BATCH }, (_, i) => {
    const batch = pfns.subarray(i * BATCH, (i + 1) * BATCH);
    const first = batch[0] as number;
    if (batch.some((pfn, at) => pfn !== first + at)) {
      throw new Error("the frames of the guest are not in address order");
    }
    return batch;
  });
}

function describe(pages: number, times: Times, problems: readonly string[]): Finding {
  const cell = (name: keyof Times, figure: (ns: number, round: number) => number): Cell =>
    problems.length > 0 ? VOID : summarize(times[name].map(figure));
  const part = (name: keyof Times): Cell =>
    cell(name, (ns, round) => (100 * (times.read[round] as number)) / ns);
  const row = (title: string, name: keyof Times) => ({
    name: title,
    cells: {
      rate: cell(name, (ns) => 1e9 / ns),
      mib: cell(name, (ns) => (1e9 / ns) * (PAGE / MIB)),
      part: part(name),
    },
  });
  const size = `${count(pages)} pages (${count((pages * PAGE) / MIB)} MiB)`;
  const rounds = times.read.length;
  return {
    table: {
      id: "hash",
      title: `hash in place: ${size}, frames in address order; rounds: ${rounds}`,
      columns: COLUMNS,
      rows: [
        row("read roofline: wasm SIMD loads, no more", "read"),
        row("pagefold's hash (XXH3-64), batches of 256", "hash"),
        row("pagefold's copy, to another block", "copy"),
        row("stock JS: xxhash-wasm h64Raw", "stock"),
      ],
      notes: [],
    },
    floors: [
      {
        name: "hash in place / read roofline",
        unit: "percent",
        floor: FLOOR,
        measured: part("hash"),
      },
    ],
    problems: problems.map((problem) => `hash: ${problem}`),
  };
}
