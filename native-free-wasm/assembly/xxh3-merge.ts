// xxh3-merge - the scalar parts of XXH3: products, the scramble of a lane, the end of the hash.
import { PAGE_SIZE, PRIME32_1, PRIME64_1, PRIME_MX1 } from "./layout.gen";
import { merge0, merge1, merge2, merge3, merge4, merge5, merge6, merge7 } from "./xxh3-secret.gen";

/** Low half times high half. */
// @ts-ignore: decorator
@inline
export function product(x: u64): u64 {
  return (x & 0xffffffff) * (x >> 32);
}

// @ts-ignore: decorator
@inline
export function scrambledLane(a: u64, key: u64): u64 {
  return (a ^ (a >> 47) ^ key) * PRIME32_1;
}

/** Both halves of the 128-bit product, folded by xor. WebAssembly multiplies to 64 bits only. */
function foldedProduct(x: u64, y: u64): u64 {
  const x0 = x & 0xffffffff;
  const x1 = x >> 32;
  const y0 = y & 0xffffffff;
  const y1 = y >> 32;
  const low = x0 * y0;
  const cross = x1 * y0 + (low >> 32);
  const middle = x0 * y1 + (cross & 0xffffffff);
  const high = x1 * y1 + (cross >> 32) + (middle >> 32);
  return high ^ ((middle << 32) | (low & 0xffffffff));
}

/** Merges the eight lanes and avalanches. */
export function merged(
  a0: u64, a1: u64, a2: u64, a3: u64, a4: u64, a5: u64, a6: u64, a7: u64,
): u64 {
  let hash: u64 = <u64>PAGE_SIZE * PRIME64_1;
  hash += foldedProduct(a0 ^ merge0, a1 ^ merge1);
  hash += foldedProduct(a2 ^ merge2, a3 ^ merge3);
  hash += foldedProduct(a4 ^ merge4, a5 ^ merge5);
  hash += foldedProduct(a6 ^ merge6, a7 ^ merge7);
  hash ^= hash >> 37;
  hash *= PRIME_MX1;
  return hash ^ (hash >> 32);
}
