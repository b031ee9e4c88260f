/**
 * machine - a tiny machine for model tests: a few frames, a page or two a guest, two cells a page.
 *
 * The ghosts: `last` holds, per (guest, gfn, cell), the value that a read must give at this moment, which
 * is stronger than "some value once written there". Freed frames are poisoned, so a use of one shows.
 */
import { expect } from "vitest";
import type { Memory } from "../../src/base/memory.js";
import type { PageKernels } from "../../src/base/page-kernels.js";
import { type Bounds, explorer, type Report, type Scenario, type Step } from "./explorer.js";
import type { Production } from "./loader.js";

export const POISON = 0x0dead;
/** The two words of a page that models look at. */
const CELLS = [0, 1023];

export interface TinyOptions {
  readonly framesShift?: number;
  readonly nodes?: number;
  /** Pages of each guest. */
  readonly guests?: readonly number[];
  /** Guest of each vCPU. */
  readonly vcpus?: readonly number[];
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
}

/** The thread's page access that is under way: its guest's words are watched (see observe). */
const intents = new Map<string, Intent>();

export class TinyMachine {
  readonly memory: Memory;
  /** Ghost: guest -> gfn -> cell -> last value written. */
  last: number[][][] = [];
  private initial: number[][][] = [];

  constructor(
    readonly production: Production,
    options: TinyOptions = {},
  ) {
    const { base, frames, guest, vcpu } = production;
    const guests = options.guests ?? [1];
    const nodes = options.nodes ?? 1;
    const sizes = {
      framesPerBlockShift: options.framesShift ?? 3,
      blocks: nodes,
      nodes,
      shards: 1,
      threads: options.threads ?? 6,
      guests: Math.max(2, guests.length),
      vcpus: Math.max(1, options.vcpus?.length ?? 1),
      slots: 512 * Math.max(2, guests.length),
      stableNodes: 8,
    };
    const patience = { polls: 0, scanMs: options.scanMs ?? 1, faultMs: options.faultMs ?? 1 };
    const blockNodes = Array.from({ length: nodes }, (_, nid) => nid);
    const handle = base.createMemoryHandle(sizes, patience, blockNodes);
    this.memory = base.attachMemory(handle, 0, () => modelKernels(production, () => this.memory));
    for (let block = 0; block < nodes; block++) frames.initBlock(this.memory, block);
    for (const [id, pages] of guests.entries()) {
      guest.initGuest(this.memory, id, 512 * id, pages, id % nodes);
      this.last.push(Array.from({ length: pages }, () => [0, 0]));
    }
    for (const id of options.vcpus ?? []) vcpu.openVcpu(this.memory, id);
    this.keepGhosts();
  }

  /** A view for a thread, with its private state fresh: call it inside the thread's body. */
  view(thread: number): Memory {
    return { ...this.memory, thread, guestMode: { sections: [], inside: false } };
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
    }
    this.ghost(guest, gfn)[0] = cells[0];
    this.ghost(guest, gfn)[1] = cells[1];
    this.keepGhosts();
    return pfn;
  }

  ghost(guest: number, gfn: number): number[] {
    return (this.last[guest] as number[][])[gfn] as number[];
  }

  keepGhosts(): void {
    this.initial = structuredClone(this.last);
  }

  restoreGhosts(): void {
    this.last = structuredClone(this.initial);
    intents.clear();
  }

  /** Watches guest accesses and poisons freed frames; for Scenario.observe. */
  observe(step: Step): void {
    this.poisonFreed(step);
    const cell = this.cellOf(step);
    if (cell === null) return;
    const intent = intents.get(step.thread);
    if (intent === undefined || intent.cell !== cell) return;
    const page = this.ghost(intent.guest, intent.gfn);
    if (step.kind === "racyStore" && intent.value !== null) {
      page[cell] = intent.value;
    } else if (step.kind === "racyLoad" && intent.value === null && step.value !== page[cell]) {
      throw new Error(
        `PTE-1: ${step.thread} reads ${step.value} at (${intent.guest}, ${intent.gfn}).${cell}, last written ${page[cell]}`,
      );
    }
  }

  /** Which cell of some frame a step touches; null: none. */
  private cellOf(step: Step): number | null {
    const { blockLayout, blocks } = this.memory;
    if (!blocks.some((block) => block.words === step.words)) return null;
    const word = step.index - (blockLayout.framesBytes >>> 2);
    if (word < 0) return null;
    const cell = CELLS.indexOf(word & 1023);
    return cell < 0 ? null : cell;
  }

  private poisonFreed(step: Step): void {
    if (step.kind !== "or") return;
    const { blockLayout, blocks, sizes } = this.memory;
    const number = blocks.findIndex((block) => block.words === step.words);
    const word = step.index - blockLayout.freeBitmap;
    if (number < 0 || word < 0 || word >= blockLayout.freeWords) return;
    const given = (step.words[step.index] as number) & ~step.value;
    const pfn = (number << sizes.framesPerBlockShift) | (word * 32 + 31 - Math.clz32(given));
    for (const cell of [0, 1]) {
      const at = this.cell(pfn, cell);
      explorer.write(at.words, at.index, POISON);
    }
  }

  /** A vCPU of the calling thread, made inside its body. */
  vcpu(memory: Memory, vcpu: number, thread: string): TinyVcpu {
    return new TinyVcpu(this, memory, vcpu, thread);
  }

  /** Recounts every ref and mapcount from the ptes; `extra` are references that are meant to be left. */
  checkCounts(extra: ReadonlyMap<number, number> = new Map()): void {
    const { base, frames, layout } = this.production;
    const { memory } = this;
    const maps = new Map<number, number>();
    for (const [guest, pages] of this.last.entries()) {
      for (let gfn = 0; gfn < pages.length; gfn++) {
        const pte = this.pte(guest, gfn);
        if ((pte & layout.PTE_STATE_MASK) === layout.PTE_ENTRY)
          throw new Error("PTE-4: entry left");
        if (pte !== 0) maps.set(layout.ptePfn(pte), (maps.get(layout.ptePfn(pte)) ?? 0) + 1);
      }
    }
    for (let pfn = 0; pfn < base.totalFrames(memory); pfn++) {
      const record = base.recordWord(memory, pfn);
      const { words } = base.blockOf(memory, pfn);
      const expected = (maps.get(pfn) ?? 0) + (extra.get(pfn) ?? 0);
      const ref = words[record + layout.RECORD_REF] as number;
      const mapcount = words[record + layout.RECORD_MAPCOUNT] as number;
      if (ref !== expected)
        throw new Error(`REF-1: frame ${pfn} has ref ${ref}, expected ${expected}`);
      if (ref > 0 && mapcount !== (maps.get(pfn) ?? 0)) {
        throw new Error(`REF-4: frame ${pfn} has mapcount ${mapcount}`);
      }
      if (frames.frameIsFree(memory, pfn) !== (expected === 0)) {
        throw new Error(`FREE-1: frame ${pfn} free bit is wrong`);
      }
      if ((words[record + layout.RECORD_LOCK] as number) !== 0)
        throw new Error("LOCK-1: lock left");
    }
  }

  /** Every page's bytes, read through its pte, are the last written. */
  checkBytes(): void {
    const { layout } = this.production;
    for (const [guest, pages] of this.last.entries()) {
      for (const [gfn, cells] of pages.entries()) {
        const pte = this.pte(guest, gfn);
        for (const [cell, expected] of cells.entries()) {
          const at = this.cell(layout.ptePfn(pte), cell);
          const value = pte === 0 ? 0 : (at.words[at.index] as number);
          if (value !== expected) {
            throw new Error(
              `PTE-1: (${guest}, ${gfn}).${cell} is ${value}, last written ${expected}`,
            );
          }
        }
      }
    }
  }

  nameWord(words: Int32Array, index: number): string {
    return nameWord(this, words, index);
  }

  /** A scenario on this machine with its ghosts watched and everything recounted at the end. */
  scenario(threads: Scenario["threads"], check: () => void = () => {}): Scenario {
    return {
      threads,
      reset: () => this.restoreGhosts(),
      observe: (step) => this.observe(step),
      check: () => {
        this.checkBytes();
        check();
      },
      nameWord: (words, index) => this.nameWord(words, index),
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
    this.tlb = tlb.createTlb(memory, vcpu);
    this.accessors = vcpus.createAccessors(this.tlb);
  }

  begin(): void {
    this.machine.production.tlb.beginSection(this.tlb);
  }

  end(): void {
    this.machine.production.tlb.endSection(this.tlb);
  }

  store(gfn: number, cell: number, value: number): void {
    const { guest } = this.tlb;
    intents.set(this.thread, { guest, gfn, cell, value });
    this.accessors.store32(gfn * 4096 + (CELLS[cell] as number) * 4, value);
    intents.delete(this.thread);
  }

  load(gfn: number, cell: number): number {
    const { guest } = this.tlb;
    intents.set(this.thread, { guest, gfn, cell, value: null });
    const value = this.accessors.load32(gfn * 4096 + (CELLS[cell] as number) * 4);
    intents.delete(this.thread);
    return value;
  }
}

/** Kernels of two steps, so that torn pages exist. */
function modelKernels(production: Production, memoryOf: () => Memory): PageKernels {
  const words = (pfn: number, cell: number) => {
    const memory = memoryOf();
    const index = (production.base.frameByte(memory, pfn) >>> 2) + (CELLS[cell] as number);
    return { words: production.base.blockOf(memory, pfn).words, index };
  };
  const load = (pfn: number, cell: number): number => {
    const at = words(pfn, cell);
    return explorer.operation(
      "kernelLoad",
      at.words,
      at.index,
      true,
      () => at.words[at.index] as number,
    );
  };
  const store = (pfn: number, cell: number, value: number): void => {
    const at = words(pfn, cell);
    explorer.operation("kernelStore", at.words, at.index, true, () => {
      explorer.write(at.words, at.index, value);
      return value;
    });
  };
  return {
    copyPage(target, source) {
      for (const cell of [0, 1]) store(target, cell, load(source, cell));
    },
    zeroPage(target) {
      for (const cell of [0, 1]) store(target, cell, 0);
    },
    equalPages(a, b) {
      return load(a, 0) === load(b, 0) && load(a, 1) === load(b, 1);
    },
    isZeroPage(pfn) {
      return load(pfn, 0) === 0 && load(pfn, 1) === 0;
    },
    hashPages(pfns, count, hashes) {
      for (let i = 0; i < count; i++) {
        hashes[2 * i] = load(pfns[i] as number, 0);
        hashes[2 * i + 1] = load(pfns[i] as number, 1);
      }
    },
  };
}

function nameWord(machine: TinyMachine, words: Int32Array, index: number): string {
  const { memory } = machine;
  const { layout, blockLayout } = memory;
  if (words !== memory.control) {
    const block = memory.blocks.findIndex((candidate) => candidate.words === words);
    if (index < blockLayout.cold) {
      const field = ["ref", "lock", "mapcount", "mapping"][index & 3];
      return `frame ${(block << memory.sizes.framesPerBlockShift) | (index >>> 2)}.${field}`;
    }
    if (index < blockLayout.freeBitmap) return `frame ${index - blockLayout.cold}.index`;
    const frame = (index * 4 - blockLayout.framesBytes) >>> 12;
    return frame < 0 ? `block ${block} word ${index}` : `frame ${frame} byte ${(index * 4) & 4095}`;
  }
  const regions = Object.entries(layout).filter(([name]) => name !== "words" && name !== "wide");
  regions.sort((a, b) => b[1] - a[1]);
  const [name, at] = regions.find(([, start]) => index >= start) ?? ["control", 0];
  return `${name}+${index - at}`;
}

/** Explores, prints the trace of a failure, and expects none. */
export function expectSafe(scenario: Scenario, bounds: Bounds): Report {
  const report = explorer.explore(scenario, bounds);
  if (report.failure !== null) {
    throw new Error(
      `${report.failure.message}\nreplay ${report.failure.schedule.join(",")}\n${report.failure.trace.join("\n")}`,
    );
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
