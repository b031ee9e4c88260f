/**
 * plain-kernels - PageKernels without pagefold's WebAssembly; only the hash is left open.
 */
import { Buffer } from "node:buffer";
import type { BlockLayout } from "../base/layout.js";
import type { Block } from "../base/memory.js";
import type { PageKernels } from "../base/page-kernels.js";
import { PAGE_SIZE, PAGE_WORDS, type Pfn } from "../base/units.js";

/** Hashes the 4,096 bytes from `byte` of the block on into `out[at]` (low) and `out[at + 1]` (high). */
export type HashPage = (block: Block, byte: number, out: Int32Array, at: number) => void;

export class PlainKernels implements PageKernels {
  readonly #hashPage: HashPage;
  readonly #blocks: readonly (Block | null)[];
  readonly #shift: number;
  readonly #indexMask: number;
  readonly #framesBytes: number;
  /** By block number: Buffers compare and copy ranges without making a view of each. */
  readonly #buffers: (Buffer | undefined)[] = [];

  constructor(
    hashPage: HashPage,
    blocks: readonly (Block | null)[],
    layout: BlockLayout,
    shift: number,
  ) {
    this.#hashPage = hashPage;
    this.#blocks = blocks;
    this.#shift = shift;
    this.#indexMask = layout.frames - 1;
    this.#framesBytes = layout.framesBytes;
  }

  copyPage(target: Pfn, source: Pfn): void {
    const byte = this.#byte(source);
    this.#buffer(source).copy(this.#buffer(target), this.#byte(target), byte, byte + PAGE_SIZE);
  }

  zeroPage(target: Pfn): void {
    const word = this.#byte(target) / 4;
    this.#block(target).words.fill(0, word, word + PAGE_WORDS);
  }

  equalPages(a: Pfn, b: Pfn): boolean {
    const byteA = this.#byte(a);
    const byteB = this.#byte(b);
    const bufferB = this.#buffer(b);
    const order = this.#buffer(a).compare(
      bufferB,
      byteB,
      byteB + PAGE_SIZE,
      byteA,
      byteA + PAGE_SIZE,
    );
    return order === 0;
  }

  isZeroPage(pfn: Pfn): boolean {
    const { words } = this.#block(pfn);
    const first = this.#byte(pfn) / 4;
    for (let word = first; word < first + PAGE_WORDS; word++) {
      if (words[word] !== 0) return false;
    }
    return true;
  }

  hashPages(pfns: Int32Array, count: number, hashes: Int32Array): void {
    for (let i = 0; i < count; i++) {
      this.#hashPage(this.#block(pfns[i]), this.#byte(pfns[i]), hashes, 2 * i);
    }
  }

  forgetBlock(block: number): void {
    this.#buffers[block] = undefined;
  }

  #byte(pfn: Pfn): number {
    return this.#framesBytes + (pfn & this.#indexMask) * PAGE_SIZE;
  }

  #block(pfn: Pfn): Block {
    return this.#blocks[pfn >>> this.#shift] as Block;
  }

  /** A Buffer over the whole block; a block that took the place of another gets a new one. */
  #buffer(pfn: Pfn): Buffer {
    const memory = this.#block(pfn).bytes.buffer as SharedArrayBuffer;
    const known = this.#buffers[pfn >>> this.#shift];
    if (known !== undefined && (known.buffer as unknown) === memory) return known;
    const buffer = Buffer.from(memory);
    this.#buffers[pfn >>> this.#shift] = buffer;
    return buffer;
  }
}
