/** Every implementation against the same suite, and the hashes against each other's reference. */
import { expect, test } from "vitest";
import createXxhash from "xxhash-wasm";
import { PAGE_SIZE } from "../../src/base/units.ts";
import { HASH_NAMES } from "../../src/kernels/options.ts";
import { referenceHash, SEEDS, testKernels } from "./conformance.ts";
import { createMachine, fillFrame, framePfn, randomPage } from "./machine.ts";

testKernels("simd", HASH_NAMES);
testKernels("scalar", HASH_NAMES);
testKernels("typescript", HASH_NAMES);
testKernels("xxhash-wasm", ["xxh64"]);

test("the two reference packages agree on XXH64", async () => {
  const { h64Raw } = await createXxhash();
  for (const seed of SEEDS) {
    const page = randomPage(5);
    const wide = (BigInt(seed[1] >>> 0) << 32n) | BigInt(seed[0] >>> 0);
    const hash = h64Raw(page, wide);
    const words = [Number(BigInt.asIntN(32, hash)), Number(BigInt.asIntN(32, hash >> 32n))];
    expect(await referenceHash("xxh64", page, seed)).toEqual(words);
  }
});

const ZERO = () => 0;
const COUNTING = (byte: number) => byte ^ (byte >>> 8);

/** What the C library xxHash 0.8.3 gives for a page: content, seed (high and low word), both hashes. */
const KNOWN_VECTORS = [
  [ZERO, 0, 0, "93d76fe148c689ba", "ac869b6f32d8bbdb"],
  [COUNTING, 0, 0, "8dcd632eecbd0e12", "3e5dda1e1a23ca2d"],
  [ZERO, 0x9e3779b1, 0x85ebca8d, "6029e2ccf1864ca9", "cf008f83adffe8a4"],
  [COUNTING, 0x9e3779b1, 0x85ebca8d, "ddf3a9d1069a5dd8", "240353d6030c9a9d"],
  [ZERO, 0xdeadbeef, 0x12345678, "5a2fbff5c4e8178d", "b1824daba274dc95"],
  [COUNTING, 0xdeadbeef, 0x12345678, "06e603042315c710", "27cee3b13a95e6c4"],
] as const;

const IMPLEMENTATION_HASHES = [
  ["simd", "xxh3-64"],
  ["simd", "xxh64"],
  ["scalar", "xxh3-64"],
  ["scalar", "xxh64"],
  ["typescript", "xxh3-64"],
  ["typescript", "xxh64"],
  ["xxhash-wasm", "xxh64"],
] as const;

test.each(IMPLEMENTATION_HASHES)("known vectors: %s, %s", async (kernels, hash) => {
  for (const [content, high, low, xxh3, xxh64] of KNOWN_VECTORS) {
    const memory = await createMachine({ kernels, hash, seed: [low | 0, high | 0] });
    const pfn = framePfn(0, 1);
    fillFrame(
      memory,
      pfn,
      Uint8Array.from({ length: PAGE_SIZE }, (_, byte) => content(byte)),
    );
    const words = new Int32Array(2);
    memory.kernels.hashPages(Int32Array.of(pfn), 1, words);
    const hex = [words[1], words[0]].map((word) => (word >>> 0).toString(16).padStart(8, "0"));
    expect(hex.join("")).toBe(hash === "xxh3-64" ? xxh3 : xxh64);
  }
});
