/**
 * random - numbers that depend on a seed alone, the same on every machine.
 */

/** Marsaglia's xorshift, never 0: a few shifts a word, so that filling memory is no slower than copying. */
export function nextRandom(state: number): number {
  const a = state ^ (state << 13);
  const b = a ^ (a >>> 17);
  return b ^ (b << 5);
}

/** A state from two numbers (the finalizer of MurmurHash3), never 0. */
export function mix(a: number, b: number): number {
  let x = Math.imul(a ^ 0x9e3779b9, 0x85ebca6b) ^ b;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16) || 1;
}

/** A stream of numbers, for whoever needs few of them. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = mix(seed, 0);
  }

  /** An integer from 0 to below `end`. */
  below(end: number): number {
    this.#state = nextRandom(this.#state);
    return Math.floor(((this.#state >>> 0) / 2 ** 32) * end);
  }

  oneOf<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
}
