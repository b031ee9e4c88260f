/**
 * xxh64 - XXH64 of a page in TypeScript. A page is a multiple of its 32-byte stripe: no remainder.
 */
import { PAGE_SIZE, PAGE_WORDS } from "../base/units.js";
import type { HashPage } from "./plain-kernels.js";
import { add64, fromWords, highWord, lowWord, multiply64, toBigInt } from "./word64.js";
import { PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4 } from "./xxhash-constants.js";

const P1_LOW = lowWord(PRIME64_1);
const P1_HIGH = highWord(PRIME64_1);
const P2_LOW = lowWord(PRIME64_2);
const P2_HIGH = highWord(PRIME64_2);
/** Four lanes of 64 bits. */
const STATE_WORDS = 8;
const MERGE_ROTATIONS = [1n, 7n, 12n, 18n];

export function createXxh64(seedLow: number, seedHigh: number): HashPage {
  const seed = fromWords(seedLow, seedHigh);
  const lanes = [seed + PRIME64_1 + PRIME64_2, seed + PRIME64_2, seed, seed - PRIME64_1];
  const start = Uint32Array.from(lanes.flatMap((lane) => [lowWord(lane), highWord(lane)]));
  const state = new Uint32Array(STATE_WORDS);
  const product = new Uint32Array(2);
  return (block, byte, out, at) => {
    const { words } = block;
    const first = byte / 4;
    state.set(start);
    for (let word = first; word < first + PAGE_WORDS; word += STATE_WORDS) {
      for (let i = 0; i < STATE_WORDS; i += 2) {
        round(state, i, words[word + i] >>> 0, words[word + i + 1] >>> 0, product);
      }
    }
    const hash = merge(state);
    out[at] = lowWord(hash);
    out[at + 1] = highWord(hash);
  };
}

/** lane = rotl(lane + data * PRIME64_2, 31) * PRIME64_1 */
function round(
  state: Uint32Array,
  at: number,
  dataLow: number,
  dataHigh: number,
  product: Uint32Array,
): void {
  multiply64(product, 0, dataLow, dataHigh, P2_LOW, P2_HIGH);
  add64(state, at, product[0], product[1]);
  const low = ((state[at] << 31) | (state[at + 1] >>> 1)) >>> 0;
  const high = ((state[at + 1] << 31) | (state[at] >>> 1)) >>> 0;
  multiply64(state, at, low, high, P1_LOW, P1_HIGH);
}

function wrap(value: bigint): bigint {
  return BigInt.asUintN(64, value);
}

function rotate(value: bigint, bits: bigint): bigint {
  return wrap(value << bits) | (value >> (64n - bits));
}

function merge(state: Uint32Array): bigint {
  const lanes = MERGE_ROTATIONS.map((_, lane) => toBigInt(state, 2 * lane));
  let hash = 0n;
  lanes.forEach((lane, i) => {
    hash = wrap(hash + rotate(lane, MERGE_ROTATIONS[i]));
  });
  for (const lane of lanes) {
    const mixed = wrap(rotate(wrap(lane * PRIME64_2), 31n) * PRIME64_1);
    hash = wrap((hash ^ mixed) * PRIME64_1 + PRIME64_4);
  }
  hash = wrap(hash + BigInt(PAGE_SIZE));
  hash = wrap((hash ^ (hash >> 33n)) * PRIME64_2);
  hash = wrap((hash ^ (hash >> 29n)) * PRIME64_3);
  return hash ^ (hash >> 32n);
}
