/**
 * wasm-kernels - PageKernels by pagefold's WebAssembly, in place: one instance a block and thread.
 *
 * The arguments of a batch go through this thread's scratch in the block (nobody else's, so no lock):
 *
 *   | bytes of the pages, 4 each | hashes, 8 each |      BATCH entries, SCRATCH_BYTES at most
 *
 * An instance sees its own block only. Two frames in different blocks are compared and copied by
 * Buffers over both memories; nothing is allocated for a page.
 */
import { Buffer } from "node:buffer";
import { type BlockLayout, SCRATCH_BYTES } from "../base/layout.js";
import type { Block } from "../base/memory.js";
import type { PageKernels } from "../base/page-kernels.js";
import { NONE, PAGE_SIZE, type Pfn, type ThreadId } from "../base/units.js";
import type { HashName, KernelModule, Seed } from "./options.js";
import {
  TOUCH_GROUP,
  WASM_HASH_XXH3,
  WASM_HASH_XXH64,
  type WasmKernelExports,
} from "./wasm-interface.js";

const LIST_ENTRY = 4;
const HASH_ENTRY = 8;
/** Pages of one call: whole touch groups, as many as the scratch has room for. */
const BATCH = Math.floor(SCRATCH_BYTES / (LIST_ENTRY + HASH_ENTRY) / TOUCH_GROUP) * TOUCH_GROUP;

/** Byte of the scratch at which the hashes begin. */
const HASHES_AT = BATCH * LIST_ENTRY;

/** Page hashes after which V8 has compiled the module with its optimizing compiler, with room. */
const WARM_HASHES = 5000;

/** A block with the instance that works in it. */
interface Bound {
  readonly block: Block;
  readonly buffer: Buffer;
  readonly wasm: WasmKernelExports;
}

export class WasmKernels implements PageKernels {
  readonly #module: KernelModule;
  readonly #which: number;
  readonly #seed: Seed;
  readonly #blocks: readonly (Block | null)[];
  readonly #shift: number;
  readonly #indexMask: number;
  readonly #framesBytes: number;
  readonly #scratch: number;
  /** By block number; filled as blocks are first used. */
  readonly #bound: (Bound | undefined)[] = [];
  /** Chains of one window's entries: first by block number, next by entry. */
  #heads = new Int32Array(0);
  readonly #next = new Int32Array(BATCH);

  constructor(
    code: { readonly module: KernelModule; readonly hash: HashName; readonly seed: Seed },
    blocks: readonly (Block | null)[],
    layout: BlockLayout,
    shift: number,
    thread: ThreadId,
  ) {
    this.#module = code.module;
    this.#which = code.hash === "xxh3-64" ? WASM_HASH_XXH3 : WASM_HASH_XXH64;
    this.#seed = code.seed;
    this.#blocks = blocks;
    this.#shift = shift;
    this.#indexMask = layout.frames - 1;
    this.#framesBytes = layout.framesBytes;
    this.#scratch = layout.scratchBytes + thread * SCRATCH_BYTES;
  }

  copyPage(target: Pfn, source: Pfn): void {
    const to = this.#at(target >>> this.#shift);
    const from = this.#at(source >>> this.#shift);
    const toByte = this.#byte(target);
    const fromByte = this.#byte(source);
    if (to === from) to.wasm.copyPage(toByte, fromByte);
    else from.buffer.copy(to.buffer, toByte, fromByte, fromByte + PAGE_SIZE);
  }

  zeroPage(target: Pfn): void {
    this.#at(target >>> this.#shift).wasm.zeroPage(this.#byte(target));
  }

  equalPages(a: Pfn, b: Pfn): boolean {
    const atA = this.#at(a >>> this.#shift);
    const atB = this.#at(b >>> this.#shift);
    const byteA = this.#byte(a);
    const byteB = this.#byte(b);
    if (atA === atB) return atA.wasm.equalPages(byteA, byteB) !== 0;
    const order = atA.buffer.compare(
      atB.buffer,
      byteB,
      byteB + PAGE_SIZE,
      byteA,
      byteA + PAGE_SIZE,
    );
    return order === 0;
  }

  isZeroPage(pfn: Pfn): boolean {
    return this.#at(pfn >>> this.#shift).wasm.isZeroPage(this.#byte(pfn)) !== 0;
  }

  hashPages(pfns: Int32Array, count: number, hashes: Int32Array): void {
    for (let first = 0; first < count; first += BATCH) {
      this.#hashWindow(pfns, first, Math.min(count, first + BATCH), hashes);
    }
  }

  forgetBlock(block: number): void {
    this.#bound[block] = undefined;
  }

  /**
   * Runs the kernels on this thread's scratch until V8 has optimized the module; all threads share the
   * code. Unoptimized, a page hash costs three times as much.
   */
  warm(): void {
    const first = this.#blocks.findIndex((block) => block !== null && block !== undefined);
    if (first === NONE) return;
    const { wasm, block } = this.#at(first);
    const page = this.#scratch;
    const out = page + HASHES_AT;
    for (let done = 0; done < WARM_HASHES; done += TOUCH_GROUP) {
      block.words.fill(page, page >>> 2, (page >>> 2) + TOUCH_GROUP);
      wasm.hashBatch(page, TOUCH_GROUP, out, this.#which);
      for (let i = 0; i < TOUCH_GROUP; i++) {
        wasm.copyPage(page, page);
        wasm.equalPages(page, page);
        wasm.zeroPage(page);
        wasm.isZeroPage(page);
      }
    }
  }

  /**
   * Hashes the entries first .. end - 1 (BATCH at most) with one call for each block among them: pages
   * of one call wait for memory together, whatever blocks lay between them.
   */
  #hashWindow(pfns: Int32Array, first: number, end: number, hashes: Int32Array): void {
    const heads = this.#chain(pfns, first, end);
    const next = this.#next;
    for (let i = 0; i < end - first; i++) {
      const number = pfns[first + i] >>> this.#shift;
      const head = heads[number];
      if (head === NONE) continue;
      heads[number] = NONE;
      const bound = this.#at(number);
      const { words } = bound.block;
      const list = this.#scratch >>> 2;
      let pages = 0;
      for (let at = head; at !== NONE; at = next[at]) {
        words[list + pages++] = this.#byte(pfns[first + at]);
      }
      bound.wasm.hashBatch(this.#scratch, pages, this.#scratch + HASHES_AT, this.#which);
      let from = (this.#scratch + HASHES_AT) >>> 2;
      for (let at = head; at !== NONE; at = next[at]) {
        hashes[2 * (first + at)] = words[from++];
        hashes[2 * (first + at) + 1] = words[from++];
      }
    }
  }

  /** Chains the entries of each block, in their order; returns the first entry by block number. */
  #chain(pfns: Int32Array, first: number, end: number): Int32Array {
    if (this.#heads.length < this.#blocks.length) {
      this.#heads = new Int32Array(2 * this.#blocks.length);
    }
    const heads = this.#heads.fill(NONE);
    for (let i = end - first - 1; i >= 0; i--) {
      const number = pfns[first + i] >>> this.#shift;
      this.#next[i] = heads[number];
      heads[number] = i;
    }
    return heads;
  }

  #byte(pfn: Pfn): number {
    return this.#framesBytes + (pfn & this.#indexMask) * PAGE_SIZE;
  }

  /** The instance of a block; a block that took the place of another gets a new one. */
  #at(number: number): Bound {
    const block = this.#blocks[number] as Block;
    const bound = this.#bound[number];
    if (bound !== undefined && bound.block === block) return bound;
    return this.#bind(number, block);
  }

  #bind(number: number, block: Block): Bound {
    const { memory } = block;
    const instance = new WebAssembly.Instance(this.#module as WebAssembly.Module, {
      env: { memory },
    });
    const wasm = instance.exports as unknown as WasmKernelExports;
    wasm.setSeed(this.#seed[0], this.#seed[1]);
    const bound = { block, buffer: Buffer.from(memory.buffer), wasm };
    this.#bound[number] = bound;
    return bound;
  }
}
