/**
 * chance - numbers that look random and follow from a seed (mulberry32). The state is handed in: protocol code has
 * no randomness of its own.
 */

/** A generator: one word, private to its user. */
export interface Chance {
  state: number;
}

/** The next number, from 0 to `below` - 1. */
export function nextBelow(chance: Chance, below: number): number {
  chance.state = (chance.state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(chance.state ^ (chance.state >>> 15), chance.state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
}
