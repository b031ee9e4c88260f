/**
 * machine - a tiny machine for model tests: a few frames, a page or two a guest, two cells a page.
 *
 * The ghosts: `last` holds, per (guest, gfn, cell), the value that a read must give at this moment, which
 * is stronger than "some value once written there". Freed frames are poisoned, so a use of one shows.
 */
import { expect } from "vitest";
import type { Memory, MemoryHost } from "../../src/base/memory.js";
import { type Bounds, explorer, type Report, type Scenario, type Step } from "./explorer.js";
import { CELLS, modelKernels } from "./kernels.js";
import type { Production } from "./loader.js";
import { checkCounts, checkPtes } from "./recount.js";

export const POISON = 0x0dead;
const PAGES_MAX = 8;

export interface TinyOptions {
  readonly framesShift?: number;
  readonly nodes?: number;
  /** Blocks of each node: 1. */
  readonly blocksPerNode?: number;
  /** Pages of each guest. */
  readonly guests?: readonly number[];
  /** Guest of each vCPU. */
  readonly vcpus?: readonly number[];
  /** Room for vCPUs that threads open. */
  readonly spareVcpus?: number;
  /** 0: a shootdown that does not complete at once is given up. */
  readonly scanMs?: number;
  readonly faultMs?: number;
  readonly threads?: number;
}

interface Intent {
  readonly guest: number;
  readonly gfn: number;
  readonly cell: number;
  readonly value: number | null;
  /** Number of the thread's view. */
  readonly thread: number;
}

/** The thread's page access that is under way: its guest's words are watched (see observe). */
const intents = new Map<string, Intent>();

export class TinyMachine {
  readonly memory: Memory;
  /** Ghost: the last value written to each (guest, gfn, cell); put back by the explorer as shared words are. */
  private readonly last: Int32Array;
  /** Ghost: the last pte that each thread read for an access. */
  private readonly ptesRead = new Int32Array(8).fill(-1);
  /** Every (guest, gfn). */
  readonly pages: readonly (readonly [number, number])[];

  constructor(
    readonly production: Production,
    options: TinyOptions = {},
  ) {
    const { base, frames, guest, vcpu } = production;
    const guests = options.guests ?? [1];
    const nodes = options.nodes ?? 1;
    const perNode = options.blocksPerNode ?? 1;
    const sizes = {
      framesPerBlockShift: options.framesShift ?? 3,
      blocks: nodes * perNode,
      nodes,
      shards: 1,
      threads: options.threads ?? 6,
      guests: Math.max(2, guests.length),
      vcpus: Math.max(1, (options.vcpus?.length ?? 0) + (options.spareVcpus ?? 0)),
      slots: 512 * Math.max(2, guests.length),
      stableNodes: 8,
    };
    const patience = { polls: 0, scanMs: options.scanMs ?? 1, faultMs: options.faultMs ?? 1 };
    const blockNodes = Array.from({ length: nodes * perNode }, (_, n) => Math.floor(n / perNode));
    const handle = base.createMemoryHandle(sizes, patience, blockNodes);
    this.memory = base.attachMemory(handle, 0, () => modelKernels(production, () => this.memory));
    this.pages = guests.flatMap((pages, id) =>
      Array.from({ length: pages }, (_, gfn): [number, number] => [id, gfn]),
    );
    this.last = new Int32Array(guests.length * PAGES_MAX * CELLS.length);
    for (let block = 0; block < nodes * perNode; block++) frames.initBlock(this.memory, block);
    for (let pfn = 0; pfn < base.framesEnd(this.memory); pfn++) this.poison(pfn);
    for (const [id, pages] of guests.entries()) {
      guest.claimGuest(this.memory);
      guest.initGuest(this.memory, id, 512 * id, pages, id % nodes);
    }
    for (const id of options.vcpus ?? []) vcpu.openVcpu(this.memory, id);
  }

  /** A view for a thread, with its private state fresh: call it inside the thread's body. */
  view(thread: number, host: MemoryHost = this.memory.host): Memory {
    return {
      ...this.memory,
      host,
      thread,
      guestMode: { sections: [], vcpus: new Set(), inside: false },
    };
  }

  slot(guest: number, gfn: number): number {
    return 512 * guest + gfn;
  }

  pte(guest: number, gfn: number): number {
    return this.memory.control[this.memory.layout.ptes + this.slot(guest, gfn)] as number;
  }

  /** Word of a frame's cell, in its block. */
  cell(pfn: number, cell: number): { words: Int32Array; index: number } {
    const { base } = this.production;
    const index = (base.frameByte(this.memory, pfn) >>> 2) + (CELLS[cell] as number);
    return { words: base.blockOf(this.memory, pfn).words, index };
  }

  /** Gives a page a frame with these cells, before the search begins. */
  populate(guest: number, gfn: number, cells: readonly [number, number]): number {
    const { fault, layout } = this.production;
    fault.populatePage(this.memory, this.slot(guest, gfn));
    const pfn = layout.ptePfn(this.pte(guest, gfn));
    for (const [cell, value] of cells.entries()) {
      const at = this.cell(pfn, cell);
      at.words[at.index] = value;
      this.last[this.lastIndex(guest, gfn, cell)] = value;
    }
    return pfn;
  }

  /**
   * Maps a frame with these cells read-only at all these pages, before the search begins: as a KSM frame,
   * linked and named by stable node `stable`; or, for NONE, as a fork left it (the guests are one family).
   */
  share(
    pages: readonly (readonly [number, number])[],
    cells: readonly [number, number],
    stable: number,
  ): number {
    const { keyhole, layout, pageMapping, pageRef, rmap } = this.production;
    const { memory } = this;
    const [first, ...others] = pages as [[number, number], ...[number, number][]];
    const pfn = this.populate(first[0], first[1], cells);
    for (const [guest, gfn] of others) {
      pageRef.getPage(memory, pfn);
      pageRef.addMapping(memory, pfn);
      for (const cell of CELLS.keys()) {
        this.last[this.lastIndex(guest, gfn, cell)] = cells[cell] as number;
      }
    }
    const merged = stable < 0 ? 0 : layout.PTE_MERGED;
    for (const [guest, gfn] of pages) {
      memory.control[memory.layout.ptes + this.slot(guest, gfn)] = layout.makePte(
        pfn,
        layout.PTE_PRESENT | merged,
      );
    }
    if (merged === 0) return pfn;
    const merges = memory.layout.engine + layout.ENGINE_KSM_PTES;
    memory.control[merges] = (memory.control[merges] as number) + pages.length;
    for (const [guest, gfn] of pages) rmap.linkSharer(memory, stable, this.slot(guest, gfn));
    keyhole.nameFrame(memory, stable, pfn);
    pageMapping.setKsmMapping(memory, pfn, this.key(stable));
    return pfn;
  }

  /** The mapping word of a stable node's frame. */
  key(stable: number, generation = 1): number {
    return this.production.layout.ksmMapping(stable, generation);
  }

  /** Clears D of a page by hand: as a harvest before the search left it. */
  quiet(guest: number, gfn: number): void {
    const index = this.memory.layout.ptes + this.slot(guest, gfn);
    const { control } = this.memory;
    control[index] = this.pte(guest, gfn) & ~this.production.layout.PTE_DIRTY;
  }

  /** Sets D of a page by hand. */
  dirty(guest: number, gfn: number): void {
    const index = this.memory.layout.ptes + this.slot(guest, gfn);
    const { control } = this.memory;
    control[index] = this.pte(guest, gfn) | this.production.layout.PTE_DIRTY;
  }

  private lastIndex(guest: number, gfn: number, cell: number): number {
    return (guest * PAGES_MAX + gfn) * CELLS.length + cell;
  }

  /** The value that a read of the cell must give at this moment. */
  lastWritten(guest: number, gfn: number, cell: number): number {
    return this.last[this.lastIndex(guest, gfn, cell)] as number;
  }

  /** A write to the cell is done at this moment. */
  wrote(guest: number, gfn: number, cell: number, value: number): void {
    explorer.write(this.last, this.lastIndex(guest, gfn, cell), value);
  }

  /** Checks what must hold at every moment; for Scenario.observe. */
  observe(step: Step): void {
    this.poisonFreed(step);
    if (step.kind !== "load" && this.isCount(step.words, step.index)) checkPtes(this);
    const cell = this.cellOf(step.words, step.index);
    const intent = intents.get(step.thread);
    if (intent === undefined) return;
    if (this.isPteOf(step, intent)) {
      explorer.write(this.ptesRead, intent.thread, step.value);
      if (step.value === 0) this.expectRead(step, intent);
    }
    if (this.isZeros(step.words) && this.ptesRead[intent.thread] !== 0) {
      throw new Error(`TLB-1: ${step.thread} reads zeros of a page with a frame`);
    }
    if (intent.cell !== cell) return;
    if (step.kind === "racyStore" && intent.value !== null) {
      this.wrote(intent.guest, intent.gfn, cell, intent.value);
    } else if (step.kind === "racyLoad" && intent.value === null) {
      this.expectRead(step, intent);
    }
  }

  /** The page that reads of none are served from: the only private words that production code reads. */
  private isZeros(words: Int32Array): boolean {
    return words.length === 1024 && !(words.buffer instanceof SharedArrayBuffer);
  }

  /** Does the step read the pte of the page that its thread is about to read? None is read as zeros. */
  private isPteOf(step: Step, { guest, gfn, value }: Intent): boolean {
    if (value !== null || step.kind !== "load" || step.words !== this.memory.control) return false;
    return step.index === this.memory.layout.ptes + this.slot(guest, gfn);
  }

  /** A pte, a ref or a mapcount, or the count of ptes with M. */
  private isCount(words: Int32Array, index: number): boolean {
    const { layout, blockLayout, control } = this.memory;
    if (words !== control) return index < blockLayout.cold && (index & 1) === 0;
    if (index === layout.engine + this.production.layout.ENGINE_KSM_PTES) return true;
    return index >= layout.ptes && index < layout.items;
  }

  private expectRead(step: Step, { guest, gfn, cell }: Intent): void {
    const expected = this.lastWritten(guest, gfn, cell);
    if (step.value === expected) return;
    throw new Error(
      `PTE-1: ${step.thread} reads ${step.value} at (${guest}, ${gfn}).${cell}, last written ${expected}`,
    );
  }

  /** Which cell of some frame a word is; null: none. */
  private cellOf(words: Int32Array, index: number): number | null {
    if (words === this.memory.control) return null;
    const { blockLayout, blocks } = this.memory;
    const word = index - (blockLayout.framesBytes >>> 2);
    if (word < 0 || !blocks.some((block) => block?.words === words)) return null;
    const cell = CELLS.indexOf(word & 1023);
    return cell < 0 ? null : cell;
  }

  private poisonFreed(step: Step): void {
    if (step.kind !== "or") return;
    const { blockLayout, blocks, sizes } = this.memory;
    const number = blocks.findIndex((block) => block?.words === step.words);
    const word = step.index - blockLayout.freeBitmap;
    if (number < 0 || word < 0 || word >= blockLayout.freeWords) return;
    const given = (step.words[step.index] as number) & ~step.value;
    if (given === 0) throw new Error("REF-2: freed twice");
    const pfn = (number << sizes.framesPerBlockShift) | (word * 32 + 31 - Math.clz32(given));
    this.poison(pfn);
  }

  private poison(pfn: number): void {
    for (const cell of CELLS.keys()) {
      const at = this.cell(pfn, cell);
      explorer.write(at.words, at.index, POISON);
    }
  }

  /** A vCPU of the calling thread, made inside its body. */
  vcpu(memory: Memory, vcpu: number, thread: string): TinyVcpu {
    return new TinyVcpu(this, memory, vcpu, thread);
  }

  /** Recounts every ref and mapcount (recount.ts); `extra` are references that are meant to be left. */
  checkCounts(extra: ReadonlyMap<number, number> = new Map()): void {
    checkCounts(this, extra);
  }

  /** Every page's bytes, read through its pte, are the last written. */
  checkBytes(): void {
    const { layout } = this.production;
    for (const [guest, gfn] of this.pages) {
      const pte = this.pte(guest, gfn);
      for (const cell of CELLS.keys()) {
        const at = this.cell(layout.ptePfn(pte), cell);
        const value = pte === 0 ? 0 : (at.words[at.index] as number);
        const expected = this.lastWritten(guest, gfn, cell);
        if (value === expected) continue;
        throw new Error(`PTE-1: (${guest}, ${gfn}).${cell} is ${value}, last written ${expected}`);
      }
    }
  }

  nameWord(words: Int32Array, index: number): string {
    return nameWord(this, words, index);
  }

  /**
   * A scenario on this machine with its ghosts watched and everything recounted at the end. It has no
   * private state but Ghosts, and what each thread's body leaves behind as a result.
   */
  scenario(
    threads: Scenario["threads"],
    check: () => void = () => this.checkCounts(),
    observe: (step: Step) => void = () => {},
  ): Scenario {
    return {
      threads,
      observe: (step) => {
        this.observe(step);
        observe(step);
      },
      check: () => {
        this.checkBytes();
        check();
      },
      watches: (words, index) => this.cellOf(words, index) !== null,
      nameWord: (words, index) => nameWord(this, words, index),
    };
  }
}

/** A vCPU whose accesses the ghosts follow. */
export class TinyVcpu {
  private readonly tlb;
  private readonly accessors;

  constructor(
    private readonly machine: TinyMachine,
    memory: Memory,
    vcpu: number,
    private readonly thread: string,
  ) {
    const { tlb, vcpu: vcpus } = machine.production;
    intents.delete(thread);
    this.tlb = tlb.createTlb(memory, vcpu);
    this.accessors = vcpus.createAccessors(this.tlb);
  }

  begin(): void {
    this.machine.production.tlb.beginSection(this.tlb);
  }

  end(): void {
    this.machine.production.tlb.endSection(this.tlb);
  }

  poll(): void {
    this.machine.production.tlb.pollSafepoint(this.tlb);
  }

  store(gfn: number, cell: number, value: number): void {
    const { guest, memory } = this.tlb;
    intents.set(this.thread, { guest, gfn, cell, value, thread: memory.thread });
    this.accessors.store32(gfn * 4096 + (CELLS[cell] as number) * 4, value);
    intents.delete(this.thread);
  }

  /** As store; a refused write returns the error's code. The one place that catches, and only what is refused. */
  tryStore(gfn: number, cell: number, value: number): string | null {
    try {
      this.store(gfn, cell, value);
      return null;
    } catch (error) {
      const code = (error as { code?: string }).code;
      if (code === undefined) throw error;
      intents.delete(this.thread);
      return code;
    }
  }

  load(gfn: number, cell: number): number {
    const { guest, memory } = this.tlb;
    intents.set(this.thread, { guest, gfn, cell, value: null, thread: memory.thread });
    const value = this.accessors.load32(gfn * 4096 + (CELLS[cell] as number) * 4);
    intents.delete(this.thread);
    return value;
  }
}

function nameWord(machine: TinyMachine, words: Int32Array, index: number): string {
  const { memory } = machine;
  const { layout, blockLayout } = memory;
  if (!(words.buffer instanceof SharedArrayBuffer)) return "ghost";
  if (words !== memory.control) {
    const block = memory.blocks.findIndex((candidate) => candidate?.words === words);
    if (index < blockLayout.cold) {
      const field = ["ref", "lock", "mapcount", "mapping"][index & 3];
      return `frame ${(block << memory.sizes.framesPerBlockShift) | (index >>> 2)}.${field}`;
    }
    if (index < blockLayout.freeBitmap) return `frame ${index - blockLayout.cold}.index`;
    if (index < blockLayout.isolated) return `block ${block} free bits`;
    if (index < blockLayout.line) return `block ${block} isolated bits`;
    if (index * 4 < blockLayout.framesBytes) {
      const field = ["free", "hint", "touched", "isolated"][index - blockLayout.line];
      return `block ${block} ${field} count`;
    }
    const frame = (index * 4 - blockLayout.framesBytes) >>> 12;
    return `frame ${(block << memory.sizes.framesPerBlockShift) | frame} byte ${(index * 4) & 4095}`;
  }
  const regions = Object.entries(layout).filter(
    ([name]) => !["words", "wide", "migrations"].includes(name),
  );
  regions.sort((a, b) => b[1] - a[1]);
  const [name, at] = regions.find(([, start]) => index >= start) ?? ["control", 0];
  return `${name}+${index - at}`;
}

/** Explores, prints the trace of a failure, and expects none. */
export function expectSafe(scenario: Scenario, bounds: Bounds): Report {
  const report = explorer.explore(scenario, bounds);
  if (report.failure !== null) {
    const { message, schedule, trace } = report.failure;
    throw new Error(`${message}\nreplay ${schedule.join(",")}\n${trace.join("\n")}`);
  }
  expect(report.exhausted).toBe(true);
  return report;
}

/** Explores a mutant, and expects a violation that says `what`. */
export function expectKilled(scenario: Scenario, bounds: Bounds, what: RegExp): Report {
  const report = explorer.explore(scenario, bounds);
  expect(report.failure?.message ?? "the mutant survived").toMatch(what);
  const again = explorer.replay(scenario, bounds, report.failure?.schedule ?? []);
  expect(again?.message).toBe(report.failure?.message);
  return report;
}

const nowhere = new Int32Array(1);

/** A step on ghost state: an operation of its own, so that it is done once however often a thread is resumed. */
export function ghost(action: () => void): void {
  explorer.operation("ghost", nowhere, 0, true, () => {
    action();
    return 0;
  });
}

/** Ghost words, put back by the explorer and part of its states. */
export class Ghosts {
  private readonly words: Int32Array;

  constructor(count: number) {
    this.words = new Int32Array(count);
  }

  get(index: number): number {
    return this.words[index] as number;
  }

  /** Inside `ghost`, or an observer. */
  set(index: number, value: number): void {
    explorer.write(this.words, index, value);
  }

  add(index: number, value: number): number {
    this.set(index, this.get(index) + value);
    return this.get(index);
  }
}
