// xxh3-vectors - what one vector of XXH3's state goes through. Inlined into the unrolled stripes.
import { PRIME32_1 } from "./layout.gen";

/** Low 32 bits of the four 64-bit lanes of x and y. */
// @ts-ignore: decorator
@inline
export function evenWords(x: v128, y: v128): v128 {
  return v128.shuffle<u32>(x, y, 0, 2, 4, 6);
}

/** High 32 bits of the four 64-bit lanes of x and y. */
// @ts-ignore: decorator
@inline
export function oddWords(x: v128, y: v128): v128 {
  return v128.shuffle<u32>(x, y, 1, 3, 5, 7);
}

/** The other lane's data: XXH3 adds it to the neighbour, here once a block instead of once a stripe. */
// @ts-ignore: decorator
@inline
export function swapped(sum: v128): v128 {
  return v128.shuffle<u64>(sum, sum, 1, 0);
}

// @ts-ignore: decorator
@inline
export function scrambled(a: v128, key: v128): v128 {
  const mixed = v128.xor(v128.xor(a, i64x2.shr_u(a, 47)), key);
  return i64x2.mul(mixed, i64x2.splat(PRIME32_1));
}
