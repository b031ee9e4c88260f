/**
 * conformance - what every implementation of PageKernels must do: one suite, run over all of them.
 */
import * as fc from "fast-check";
import { xxhash3, xxhash64 } from "hash-wasm";
import { beforeAll, describe, expect, test } from "vitest";
import { SCRATCH_BYTES } from "../../src/base/layout.ts";
import { frameByte, type Memory } from "../../src/base/memory.ts";
import { PAGE_SIZE, type Pfn } from "../../src/base/units.ts";
import type { HashName, KernelImplementation, Seed } from "../../src/kernels/options.ts";
import { warmKernels } from "../../src/kernels/prepare.ts";
import {
  changedBytes,
  createMachine,
  FRAMES_PER_BLOCK,
  fillAll,
  fillFrame,
  frameBytes,
  framePfn,
  randomPage,
  snapshot,
  THREAD,
} from "./machine.ts";

/** Frames that the tests of single pages use: neighbours lie on both sides. */
const HERE = framePfn(0, 5);
const SAME_BLOCK = framePfn(0, 9);
const OTHER_BLOCK = framePfn(2, 7);
const PAIRS: readonly [string, Pfn, Pfn][] = [
  ["in one block", HERE, SAME_BLOCK],
  ["in different blocks", HERE, OTHER_BLOCK],
  ["at one index of different blocks", HERE, framePfn(1, 5)],
  ["first and last of a block", framePfn(0, 0), framePfn(0, FRAMES_PER_BLOCK - 1)],
  ["last of one block, first of the next", framePfn(0, FRAMES_PER_BLOCK - 1), framePfn(1, 0)],
];

/** One byte in every 16-byte lane, the ends of the page, and the ends of every 1 KiB block. */
const POSITIONS = [
  ...Array.from({ length: PAGE_SIZE / 16 }, (_, lane) => lane * 16 + (lane % 16)),
  ...[0, 1, 63, 64, 1023, 1024, 2047, 2048, 3071, 3072, 4031, 4032, 4088, 4094, 4095],
];

export const SEEDS: readonly Seed[] = [
  [0, 0],
  [1, 0],
  [0, 1],
  [-1, -1],
  [0x12345678, -0x12345678],
];

export function testKernels(
  implementation: KernelImplementation,
  hashes: readonly HashName[],
): void {
  describe(`kernels ${implementation}`, () => {
    testPages(implementation);
    for (const hash of hashes) {
      testHash(implementation, hash);
      testBatches(implementation, hash);
    }
  });
}

/** The hash as the reference package computes it: low and high word. */
export async function referenceHash(hash: HashName, page: Uint8Array, seed: Seed) {
  const reference = hash === "xxh3-64" ? xxhash3 : xxhash64;
  const hex = await reference(page, seed[0] >>> 0, seed[1] >>> 0);
  return [Number.parseInt(hex.slice(8), 16) | 0, Number.parseInt(hex.slice(0, 8), 16) | 0];
}

function hashList(memory: Memory, pfns: readonly Pfn[]): Int32Array {
  const hashes = new Int32Array(2 * pfns.length + 2).fill(0x5a5a5a5a);
  memory.kernels.hashPages(Int32Array.from([...pfns, 0]), pfns.length, hashes);
  expect([...hashes.subarray(2 * pfns.length)], "past the end").toEqual([0x5a5a5a5a, 0x5a5a5a5a]);
  return hashes.subarray(0, 2 * pfns.length);
}

const SHAPES: readonly [string, Uint8Array][] = [
  ["zero", new Uint8Array(PAGE_SIZE)],
  ["0xff", new Uint8Array(PAGE_SIZE).fill(0xff)],
  ["one word repeated", new Uint8Array(PAGE_SIZE).map((_, i) => [0xde, 0xad, 0xbe, 0xef][i % 4])],
  ["counting", new Uint8Array(PAGE_SIZE).map((_, i) => i ^ (i >>> 8))],
  ["random", randomPage(42)],
];

function testPages(implementation: KernelImplementation): void {
  let memory: Memory;
  beforeAll(async () => {
    memory = await createMachine({ kernels: implementation });
    fillAll(memory);
  });

  testPairs(() => memory);
  testSinglePages(() => memory);
  testAnyPages(() => memory);
}

function testPairs(memory: () => Memory): void {
  describe.each(PAIRS)("two frames %s", (_, a, b) => {
    test.each(SHAPES)("of equal content (%s) are equal", (_, page) => {
      fillFrame(memory(), a, page);
      fillFrame(memory(), b, page);
      expect(memory().kernels.equalPages(a, b)).toBe(true);
      expect(memory().kernels.equalPages(b, a)).toBe(true);
    });

    test("that differ in one bit are not equal, wherever it is", () => {
      fillFrame(memory(), a, randomPage(1));
      for (const position of POSITIONS) {
        const page = randomPage(1);
        page[position] ^= 1 << (position % 8);
        fillFrame(memory(), b, page);
        expect(memory().kernels.equalPages(a, b), `byte ${position}`).toBe(false);
        expect(memory().kernels.equalPages(b, a), `byte ${position}`).toBe(false);
      }
    });

    test("copying moves every byte, and writes nothing else", () => {
      fillFrame(memory(), a, randomPage(2));
      fillFrame(memory(), b, randomPage(3));
      const before = snapshot(memory());
      memory().kernels.copyPage(b, a);
      expect(frameBytes(memory(), b)).toEqual(randomPage(2));
      expectWritten(memory(), before, b);
    });
  });
}

function testSinglePages(memory: () => Memory): void {
  test("a frame equals itself", () => {
    expect(memory().kernels.equalPages(HERE, HERE)).toBe(true);
  });

  test("a zeroed frame is zero, and nothing else is written", () => {
    for (const pfn of [HERE, OTHER_BLOCK, framePfn(1, 0), framePfn(1, FRAMES_PER_BLOCK - 1)]) {
      fillFrame(memory(), pfn, randomPage(pfn));
      const before = snapshot(memory());
      memory().kernels.zeroPage(pfn);
      expect(frameBytes(memory(), pfn)).toEqual(new Uint8Array(PAGE_SIZE));
      expect(memory().kernels.isZeroPage(pfn)).toBe(true);
      expectWritten(memory(), before, pfn);
    }
  });

  test("one bit makes a page not zero, wherever it is", () => {
    for (const position of POSITIONS) {
      const page = new Uint8Array(PAGE_SIZE);
      page[position] = 1 << (position % 8);
      fillFrame(memory(), OTHER_BLOCK, page);
      expect(memory().kernels.isZeroPage(OTHER_BLOCK), `byte ${position}`).toBe(false);
    }
  });
}

function testAnyPages(memory: () => Memory): void {
  test("any page is copied, compared and tested as its bytes say", () => {
    const word = fc.integer({ min: 0, max: PAGE_SIZE - 1 });
    const edits = fc.array(fc.tuple(word, fc.integer({ min: 0, max: 255 })), { maxLength: 3 });
    const pair = fc.constantFrom(...PAIRS.map(([, a, b]) => [a, b] as const));
    fc.assert(
      fc.property(edits, edits, pair, (left, right, [a, b]) => {
        const pages = [left, right].map((list) => {
          const page = new Uint8Array(PAGE_SIZE);
          for (const [at, value] of list) page[at] = value;
          return page;
        });
        fillFrame(memory(), a, pages[0]);
        fillFrame(memory(), b, pages[1]);
        const equal = pages[0].every((byte, i) => byte === pages[1][i]);
        expect(memory().kernels.equalPages(a, b)).toBe(equal);
        expect(memory().kernels.isZeroPage(a)).toBe(pages[0].every((byte) => byte === 0));
        memory().kernels.copyPage(b, a);
        expect(memory().kernels.equalPages(a, b)).toBe(true);
        expect(frameBytes(memory(), b)).toEqual(pages[0]);
      }),
      { numRuns: 60 },
    );
  });
}

/** Only bytes of the frame `pfn` differ from the snapshot: no record, no other frame, no scratch. */
function expectWritten(memory: Memory, before: readonly Uint8Array[], pfn: Pfn): void {
  const from = frameByte(memory, pfn);
  memory.blocks.forEach((_, block) => {
    const outside = changedBytes(memory, before, block).filter(
      (byte) =>
        block !== Math.floor(pfn / FRAMES_PER_BLOCK) || byte < from || byte >= from + PAGE_SIZE,
    );
    expect(outside, `block ${block}`).toEqual([]);
  });
}

function testHash(implementation: KernelImplementation, hash: HashName): void {
  describe.each(SEEDS)(`${hash} with seed (%i, %i)`, (...seed) => {
    let memory: Memory;
    beforeAll(async () => {
      memory = await createMachine({ kernels: implementation, hash, seed });
    });

    test.each(SHAPES)("of a page (%s) is the reference's", async (_, page) => {
      fillFrame(memory, HERE, page);
      expect([...hashList(memory, [HERE])]).toEqual(await referenceHash(hash, page, seed));
    });

    test("of pages one bit apart is the reference's, wherever the bit is", async () => {
      for (const position of POSITIONS) {
        const page = randomPage(7);
        page[position] ^= 1 << (position % 8);
        fillFrame(memory, OTHER_BLOCK, page);
        const expected = await referenceHash(hash, page, seed);
        expect([...hashList(memory, [OTHER_BLOCK])], `byte ${position}`).toEqual(expected);
      }
    });

    test("of any page is the reference's", async () => {
      const bytes = fc.uint8Array({ minLength: PAGE_SIZE, maxLength: PAGE_SIZE });
      await fc.assert(
        fc.asyncProperty(bytes, async (page) => {
          fillFrame(memory, HERE, page);
          expect([...hashList(memory, [HERE])]).toEqual(await referenceHash(hash, page, seed));
        }),
        { numRuns: 20 },
      );
    });
  });
}

/** Orders of the frames of a batch. */
const ORDERS: readonly [string, (index: number) => Pfn][] = [
  ["in order", (i) => framePfn(0, 0) + (i % (3 * FRAMES_PER_BLOCK))],
  ["backwards", (i) => framePfn(2, FRAMES_PER_BLOCK - 1) - (i % (3 * FRAMES_PER_BLOCK))],
  ["scattered in one block", (i) => framePfn(1, (i * 37 + 11) % FRAMES_PER_BLOCK)],
  ["a new block every frame", (i) => framePfn(i % 3, (i * 29) % FRAMES_PER_BLOCK)],
  ["half in order", (i) => framePfn(0, ((i >> 3) * 40 + (i & 7)) % FRAMES_PER_BLOCK)],
  ["the same frame again and again", () => HERE],
];
const COUNTS = [0, 1, 2, 15, 16, 17, 255, 256, 257, 336, 337, 700];

function testBatches(implementation: KernelImplementation, hash: HashName): void {
  const seed: Seed = [77, -5];
  describe(`batches of ${hash}`, () => {
    let memory: Memory;
    let expected: number[][];
    beforeAll(async () => {
      memory = await createMachine({ kernels: implementation, hash, seed });
      fillAll(memory);
      expected = [];
      for (let pfn = 0; pfn < 3 * FRAMES_PER_BLOCK; pfn++) {
        expected.push(await referenceHash(hash, frameBytes(memory, pfn), seed));
      }
    });

    describe.each(ORDERS)("%s", (_, order) => {
      test.each(COUNTS)("%i pages", (count) => {
        const pfns = Array.from({ length: count }, (_, i) => order(i));
        expect([...hashList(memory, pfns)]).toEqual(pfns.flatMap((pfn) => expected[pfn]));
      });
    });

    test("writes to this thread's scratch alone", () => {
      const before = snapshot(memory);
      hashList(
        memory,
        Array.from({ length: 700 }, (_, i) => framePfn(i % 3, i % FRAMES_PER_BLOCK)),
      );
      hashList(
        memory,
        Array.from({ length: 700 }, (_, i) => framePfn(1, i % FRAMES_PER_BLOCK)),
      );
      warmKernels(memory.kernels);
      const from = memory.blockLayout.scratchBytes + THREAD * SCRATCH_BYTES;
      memory.blocks.forEach((_, block) => {
        const outside = changedBytes(memory, before, block).filter(
          (byte) => byte < from || byte >= from + SCRATCH_BYTES,
        );
        expect(outside, `block ${block}`).toEqual([]);
      });
    });

    test("goes on with a block that is added, or takes another's place", async () => {
      const other = await createMachine({ kernels: implementation, hash, seed });
      fillFrame(other, framePfn(0, 3), randomPage(99));
      memory.blocks.push(other.blocks[0]);
      const result = await referenceHash(hash, randomPage(99), seed);
      expect([...hashList(memory, [framePfn(3, 3)])]).toEqual(result);
      memory.kernels.copyPage(framePfn(3, 4), framePfn(3, 3));
      memory.kernels.copyPage(framePfn(3, 5), HERE);
      expect(frameBytes(other, framePfn(0, 4))).toEqual(randomPage(99));
      expect(frameBytes(other, framePfn(0, 5))).toEqual(frameBytes(memory, HERE));
      memory.blocks[3] = other.blocks[1];
      fillFrame(other, framePfn(1, 3), randomPage(98));
      const second = await referenceHash(hash, randomPage(98), seed);
      expect([...hashList(memory, [framePfn(3, 3)])]).toEqual(second);
      fillFrame(memory, SAME_BLOCK, randomPage(98));
      expect(memory.kernels.equalPages(framePfn(3, 3), SAME_BLOCK)).toBe(true);
      memory.blocks.pop();
    });
  });
}
