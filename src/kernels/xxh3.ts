/**
 * xxh3 - XXH3-64 of a page in TypeScript: the plain form of what native-free-wasm computes, and the
 * kernel of the `typescript` implementation.
 *
 *   state: 8 lanes of 64 bits; a stripe is 64 bytes, a block 16 stripes. A stripe adds its data to the
 *   neighbour lane, and the product of both halves of (data ^ key) to its own. A scramble ends each
 *   block but the last one, whose last stripe has keys of its own.
 */
import { PAGE_SIZE } from "../base/units.js";
import type { HashPage } from "./plain-kernels.js";
import {
  add64,
  fromWords,
  highWord,
  lowWord,
  multiply64,
  multiplyHigh,
  toBigInt,
} from "./word64.js";
import * as xxhash from "./xxhash-constants.js";

const LANES = 8;
const STRIPE_WORDS = xxhash.XXH3_STRIPE / 4;
const STRIPES = PAGE_SIZE / xxhash.XXH3_STRIPE;

const START = [
  BigInt(xxhash.PRIME32_3),
  xxhash.PRIME64_1,
  xxhash.PRIME64_2,
  xxhash.PRIME64_3,
  xxhash.PRIME64_4,
  BigInt(xxhash.PRIME32_2),
  xxhash.PRIME64_5,
  BigInt(xxhash.PRIME32_1),
];

/** The secret's bytes as the seed makes them (XXH3_initCustomSecret). */
function seededSecret(seed: bigint): DataView {
  const secret = new DataView(new ArrayBuffer(xxhash.XXH3_SECRET.length * 8));
  xxhash.XXH3_SECRET.forEach((word, i) => {
    secret.setBigUint64(8 * i, BigInt.asUintN(64, i % 2 === 0 ? word + seed : word - seed), true);
  });
  return secret;
}

/** `count` keys of 64 bits from a byte of the secret on, as pairs of words. */
function keysAt(secret: DataView, byte: number, count: number): Uint32Array {
  return Uint32Array.from({ length: 2 * count }, (_, i) => secret.getUint32(byte + 4 * i, true));
}

export function createXxh3(seedLow: number, seedHigh: number): HashPage {
  const secret = seededSecret(fromWords(seedLow, seedHigh));
  const stripeKeys = keysAt(secret, 0, LANES + xxhash.XXH3_STRIPES_PER_BLOCK);
  const lastKeys = keysAt(secret, xxhash.XXH3_SECRET_LAST, LANES);
  const scrambleKeys = keysAt(secret, xxhash.XXH3_SECRET_SCRAMBLE, LANES);
  const mergeKeys = Array.from({ length: LANES }, (_, i) =>
    secret.getBigUint64(xxhash.XXH3_SECRET_MERGE + 8 * i, true),
  );
  const start = Uint32Array.from(START.flatMap((lane) => [lowWord(lane), highWord(lane)]));
  const state = new Uint32Array(2 * LANES);
  return (block, byte, out, at) => {
    state.set(start);
    for (let stripe = 0; stripe < STRIPES; stripe++) {
      const inBlock = stripe % xxhash.XXH3_STRIPES_PER_BLOCK;
      const isLast = stripe === STRIPES - 1;
      const keys = isLast ? lastKeys : stripeKeys;
      addStripe(state, block.words, byte / 4 + stripe * STRIPE_WORDS, keys, isLast ? 0 : inBlock);
      if (inBlock === xxhash.XXH3_STRIPES_PER_BLOCK - 1 && !isLast) scramble(state, scrambleKeys);
    }
    const hash = merge(state, mergeKeys);
    out[at] = lowWord(hash);
    out[at + 1] = highWord(hash);
  };
}

function addStripe(
  state: Uint32Array,
  words: Int32Array,
  word: number,
  keys: Uint32Array,
  firstKey: number,
): void {
  for (let lane = 0; lane < LANES; lane++) {
    const low = words[word + 2 * lane] >>> 0;
    const high = words[word + 2 * lane + 1] >>> 0;
    const keyedLow = (low ^ keys[2 * (firstKey + lane)]) >>> 0;
    const keyedHigh = (high ^ keys[2 * (firstKey + lane) + 1]) >>> 0;
    const product = Math.imul(keyedLow, keyedHigh) >>> 0;
    add64(state, 2 * (lane ^ 1), low, high);
    add64(state, 2 * lane, product, multiplyHigh(keyedLow, keyedHigh));
  }
}

/** lane = (lane ^ lane >>> 47 ^ key) * PRIME32_1 */
function scramble(state: Uint32Array, keys: Uint32Array): void {
  for (let i = 0; i < 2 * LANES; i += 2) {
    const low = (state[i] ^ (state[i + 1] >>> 15) ^ keys[i]) >>> 0;
    const high = (state[i + 1] ^ keys[i + 1]) >>> 0;
    multiply64(state, i, low, high, xxhash.PRIME32_1, 0);
  }
}

function merge(state: Uint32Array, keys: readonly bigint[]): bigint {
  let hash = BigInt(PAGE_SIZE) * xxhash.PRIME64_1;
  for (let lane = 0; lane < LANES; lane += 2) {
    const a = toBigInt(state, 2 * lane) ^ keys[lane];
    const b = toBigInt(state, 2 * lane + 2) ^ keys[lane + 1];
    const product = a * b;
    hash += BigInt.asUintN(64, product) ^ (product >> 64n);
  }
  hash = BigInt.asUintN(64, hash);
  hash = BigInt.asUintN(64, (hash ^ (hash >> 37n)) * xxhash.PRIME_MX1);
  return hash ^ (hash >> 32n);
}
