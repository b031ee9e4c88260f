/**
 * xxhash-constants - the primes and the secret of xxHash, once: the TypeScript hashes import them, and
 * native-free-wasm/layout.mjs copies them into the AssemblyScript sources.
 *
 * Algorithm and constants: xxHash 0.8, XXH3_64bits_withSeed and XXH64.
 */

export const PRIME32_1 = 0x9e3779b1;
export const PRIME32_2 = 0x85ebca77;
export const PRIME32_3 = 0xc2b2ae3d;
export const PRIME64_1 = 0x9e3779b185ebca87n;
export const PRIME64_2 = 0xc2b2ae3d27d4eb4fn;
export const PRIME64_3 = 0x165667b19e3779f9n;
export const PRIME64_4 = 0x85ebca77c2b2ae63n;
export const PRIME64_5 = 0x27d4eb2f165667c5n;
/** Multiplier of XXH3's avalanche. */
export const PRIME_MX1 = 0x165667919e3779f9n;

/** The secret of XXH3 (192 bytes) as little-endian 64-bit words. */
export const XXH3_SECRET: readonly bigint[] = [
  0xbe4ba423396cfeb8n,
  0x1cad21f72c81017cn,
  0xdb979083e96dd4den,
  0x1f67b3b7a4a44072n,
  0x78e5c0cc4ee679cbn,
  0x2172ffcc7dd05a82n,
  0x8e2443f7744608b8n,
  0x4c263a81e69035e0n,
  0xcb00c391bb52283cn,
  0xa32e531b8b65d088n,
  0x4ef90da297486471n,
  0xd8acdea946ef1938n,
  0x3f349ce33f76faa8n,
  0x1d4f0bc7c7bbdcf9n,
  0x3159b4cd4be0518an,
  0x647378d9c97e9fc8n,
  0xc3ebd33483acc5ean,
  0xeb6313faffa081c5n,
  0x49daf0b751dd0d17n,
  0x9e68d429265516d3n,
  0xfca1477d58be162bn,
  0xce31d07ad1b8f88fn,
  0x280416958f3acb45n,
  0x7e404bbbcafbd7afn,
];

/** Bytes that one step of XXH3 consumes. */
export const XXH3_STRIPE = 64;
/** Stripes between two scrambles: (192 - 64) / 8. */
export const XXH3_STRIPES_PER_BLOCK = 16;
/** Bytes between two scrambles. */
export const XXH3_BLOCK = XXH3_STRIPE * XXH3_STRIPES_PER_BLOCK;
/** Byte of the secret at which the keys of the last stripe, the scramble and the final merge begin. */
export const XXH3_SECRET_LAST = 121;
export const XXH3_SECRET_SCRAMBLE = 128;
export const XXH3_SECRET_MERGE = 11;
