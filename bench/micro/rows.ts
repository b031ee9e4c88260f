/** rows - the operations that are timed one by one. */
import { TLB_ENTRIES } from "../../dist/base/layout.js";
import { frameView } from "../../dist/base/memory.js";
import type { Vcpu } from "../../dist/index.js";
import { PAGE } from "../mix.js";
import { PATTERN, type World } from "./world.js";

interface Operation {
  readonly title: string;
  /** Operations in one call of the body. */
  readonly calls: number;
}

/** Can be repeated as often as benchmark.js likes. */
export interface Repeatable extends Operation {
  readonly body: () => void;
}

/** Uses something up: timed call by call, with what brings it back in between. */
export interface Consuming extends Operation {
  /** Untimed; returns what is timed. */
  readonly prepare: () => Promise<() => void>;
  /** How often the operation has been done by now, by the engine's own count. */
  readonly counted: () => number;
}

/** Pages that stay in a core's second-level cache. */
const CACHED_PAGES = 64;
/** Accesses in a call: V8 likes many short calls better than a long one. */
const ACCESSES = 8192;
const MASK = CACHED_PAGES * PAGE - 1;
/** Pages so far apart share an entry of the TLB. */
const TLB_REACH = TLB_ENTRIES * PAGE;
/** What loads come to, so that none of them is dead code. */
const KEPT = new Int32Array(1);

export function repeatableRows(world: World): Repeatable[] {
  return [...pageRows(world), ...sectionRows(world), ...plainRows(), ...singleRows(world)];
}

/** Kernels, on pages in the cache. */
function pageRows({ memory, image, spare }: World): Repeatable[] {
  const { kernels } = memory;
  const cached = image.slice(0, CACHED_PAGES);
  const hashes = new Int32Array(2 * CACHED_PAGES);
  const source = image[0] as number;
  const [a, b, late, zero, target] = spare as unknown as [number, number, number, number, number];
  for (const pfn of [a, b, late]) kernels.copyPage(pfn, source);
  const bytes = frameView(memory, late);
  bytes[PAGE - 1] = (bytes[PAGE - 1] as number) ^ 1;
  kernels.zeroPage(zero);
  const row = (title: string, body: () => void): Repeatable => ({ title, calls: 1, body });
  return [
    {
      title: "hash a page",
      calls: CACHED_PAGES,
      body: () => kernels.hashPages(cached, CACHED_PAGES, hashes),
    },
    row("compare: equal, one block", () => kernels.equalPages(a, b)),
    row("compare: equal, two blocks", () => kernels.equalPages(a, source)),
    row("compare: the last byte differs", () => kernels.equalPages(a, late)),
    row("zero test of a zero page", () => kernels.isZeroPage(zero)),
    row("copy within a block", () => kernels.copyPage(target, a)),
    row("copy to another block", () => kernels.copyPage(target, source)),
    row("fill with zeros", () => kernels.zeroPage(zero)),
  ];
}

function sectionRows({ vcpu }: World): Repeatable[] {
  const loads = (inside: Vcpu): void => {
    let sum = 0;
    for (let i = 0; i < ACCESSES; i++) sum = (sum + inside.load32((4 * i) & MASK)) | 0;
    KEPT[0] = sum;
  };
  const stores = (inside: Vcpu): void => {
    for (let i = 0; i < ACCESSES; i++) inside.store32((4 * i) & MASK, PATTERN);
  };
  const misses = (inside: Vcpu): void => {
    let sum = 0;
    // Two pages that share a TLB entry take turns.
    for (let i = 0; i < CACHED_PAGES; i++) sum ^= inside.load32((i & 1) * TLB_REACH);
    KEPT[0] = sum;
  };
  return [
    { title: "load32, TLB hit", calls: ACCESSES, body: () => vcpu.run(loads) },
    { title: "store32, TLB hit", calls: ACCESSES, body: () => vcpu.run(stores) },
    { title: "load32, TLB miss", calls: CACHED_PAGES, body: () => vcpu.run(misses) },
  ];
}

/** The same loops over a typed array: what an access would cost without a guest. */
function plainRows(): Repeatable[] {
  const words = new Int32Array(new SharedArrayBuffer(CACHED_PAGES * PAGE)).fill(PATTERN);
  const loads = (): void => {
    let sum = 0;
    for (let i = 0; i < ACCESSES; i++) sum = (sum + (words[i & (MASK >>> 2)] as number)) | 0;
    KEPT[0] = sum;
  };
  const stores = (): void => {
    for (let i = 0; i < ACCESSES; i++) words[i & (MASK >>> 2)] = PATTERN;
  };
  return [
    { title: "load of a plain Int32Array", calls: ACCESSES, body: loads },
    { title: "store to a plain Int32Array", calls: ACCESSES, body: stores },
  ];
}

/** Outside of sections. */
function singleRows({ engine, plain, vcpu }: World): Repeatable[] {
  const page = new Uint8Array(new Int32Array(PAGE / 4).fill(PATTERN).buffer);
  const row = (title: string, body: () => void): Repeatable => ({ title, calls: 1, body });
  return [
    row("an empty section", () => vcpu.run(() => {})),
    row("load32 outside a section", () => vcpu.load32(64)),
    row("store32 outside a section", () => vcpu.store32(64, PATTERN)),
    row("read 4 KiB", () => vcpu.read(0, page)),
    row("write 4 KiB", () => vcpu.write(0, page)),
    row("pin a page and release it", () => plain.pin(0, PAGE).release()),
    row("stats()", () => engine.stats()),
  ];
}

export function consumingRows(world: World): Consuming[] {
  const { engine, mergedVcpu, pages } = world;
  const store = (inside: Vcpu): void => {
    for (let page = 0; page < pages; page++) inside.store32(page * PAGE, PATTERN);
  };
  return [
    {
      title: "write fault: no frame yet",
      calls: pages,
      async prepare() {
        await world.mergeAll();
        const vcpu = world.emptyGuest().vcpu();
        return () => vcpu.run(store);
      },
      counted: () => engine.stats().frames.used,
    },
    {
      title: "write fault: a merged page (COW)",
      calls: pages,
      async prepare() {
        await world.mergeAll();
        return () => mergedVcpu.run(store);
      },
      counted: () => engine.stats().counters.cow_ksm,
    },
  ];
}
