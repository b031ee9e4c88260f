/**
 * word64 - 64-bit arithmetic on pairs of 32-bit words (low first) in a Uint32Array. BigInt would
 * cost an allocation an operation.
 */

const CARRY = 0x100000000;

/** High 32 bits of the product of two uint32. */
export function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const cross = a1 * b0 + ((a0 * b0) >>> 16);
  const middle = a0 * b1 + (cross & 0xffff);
  return a1 * b1 + (cross >>> 16) + (middle >>> 16);
}

/** words[at] += (low, high); both uint32. */
export function add64(words: Uint32Array, at: number, low: number, high: number): void {
  const sum = words[at] + low;
  words[at] = sum;
  words[at + 1] += high + (sum >= CARRY ? 1 : 0);
}

/** words[at] = (low, high) * (factorLow, factorHigh). */
export function multiply64(
  words: Uint32Array,
  at: number,
  low: number,
  high: number,
  factorLow: number,
  factorHigh: number,
): void {
  words[at] = Math.imul(low, factorLow);
  words[at + 1] =
    multiplyHigh(low, factorLow) + Math.imul(low, factorHigh) + Math.imul(high, factorLow);
}

const LOW_WORD = 0xffffffffn;

export function toBigInt(words: Uint32Array, at: number): bigint {
  return (BigInt(words[at + 1]) << 32n) | BigInt(words[at]);
}

/** Low and high word of a 64-bit value. */
export function lowWord(value: bigint): number {
  return Number(value & LOW_WORD);
}

export function highWord(value: bigint): number {
  return Number((value >> 32n) & LOW_WORD);
}

/** The unsigned 64-bit value of two int32 words. */
export function fromWords(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
