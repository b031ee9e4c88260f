// xxh64 - XXH64 of a page; 4,096 is a multiple of its 32-byte stripe, so nothing is left over.
import { PAGE_SIZE, PRIME64_1, PRIME64_2, PRIME64_3, PRIME64_4 } from "./layout.gen";

let seed64: u64 = 0;

export function setXxh64Seed(seed: u64): void {
  seed64 = seed;
}

// @ts-ignore: decorator
@inline
function round(lane: u64, data: u64): u64 {
  return rotl<u64>(lane + data * PRIME64_2, 31) * PRIME64_1;
}

// @ts-ignore: decorator
@inline
function mergeLane(hash: u64, lane: u64): u64 {
  return (hash ^ round(0, lane)) * PRIME64_1 + PRIME64_4;
}

/** XXH64 of the page, stored at `out`. */
export function xxh64Page(page: usize, out: usize): void {
  let v1 = seed64 + PRIME64_1 + PRIME64_2;
  let v2 = seed64 + PRIME64_2;
  let v3 = seed64;
  let v4 = seed64 - PRIME64_1;
  for (let line: u32 = 0; line < PAGE_SIZE; line += 64) {
    const at = page + line;
    v1 = round(v1, load<u64>(at));
    v2 = round(v2, load<u64>(at, 8));
    v3 = round(v3, load<u64>(at, 16));
    v4 = round(v4, load<u64>(at, 24));
    v1 = round(v1, load<u64>(at, 32));
    v2 = round(v2, load<u64>(at, 40));
    v3 = round(v3, load<u64>(at, 48));
    v4 = round(v4, load<u64>(at, 56));
  }
  let hash = rotl<u64>(v1, 1) + rotl<u64>(v2, 7) + rotl<u64>(v3, 12) + rotl<u64>(v4, 18);
  hash = mergeLane(hash, v1);
  hash = mergeLane(hash, v2);
  hash = mergeLane(hash, v3);
  hash = mergeLane(hash, v4);
  hash += PAGE_SIZE;
  hash = (hash ^ (hash >> 33)) * PRIME64_2;
  hash = (hash ^ (hash >> 29)) * PRIME64_3;
  store<u64>(out, hash ^ (hash >> 32));
}
