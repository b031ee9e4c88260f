/**
 * atomics - the seam: the one file in which the identifier `Atomics` appears, and the closed list of
 * everything pagefold does to memory that threads share.
 *
 * Model tests replace this file with a twin (test/model/seam.ts) in which every operation is a
 * scheduling point, so the functions checked there are the functions shipped here.
 *
 *   ...Word        sequentially consistent. Every call in mm, ksm and machine carries an ORDER tag
 *                  that names its partner (the tidy test enforces it).
 *   countWord      an atomic add that orders nothing: counters only.
 *   racy...        a plain access that may race, on purpose. The call says why any value is
 *                  acceptable and where it is checked again (a RACY comment).
 *   plain...       a plain access ordered by something else: a lock, or one owner thread.
 *
 * `Atomics` on typed arrays is a builtin call in V8, plain accesses are machine instructions; bit
 * operators are 32-bit signed, so words are Int32 and every encoding fits in 32 bits.
 */

export function loadWord(words: Int32Array, index: number): number {
  return Atomics.load(words, index);
}

export function storeWord(words: Int32Array, index: number, value: number): void {
  Atomics.store(words, index, value);
}

/** Adds; returns the value before. */
export function addWord(words: Int32Array, index: number, value: number): number {
  return Atomics.add(words, index, value);
}

/** Sets the bits of `value`; returns the value before. */
export function orWord(words: Int32Array, index: number, value: number): number {
  return Atomics.or(words, index, value);
}

/** Stores; returns the value before. */
export function exchangeWord(words: Int32Array, index: number, value: number): number {
  return Atomics.exchange(words, index, value);
}

/** Stores `value` if the word is `expected`; returns the value before. `expected` must be an int32. */
export function casWord(words: Int32Array, index: number, expected: number, value: number): number {
  return Atomics.compareExchange(words, index, expected, value);
}

/**
 * Sleeps while the word is `expected`, until notified or `timeoutMs` has passed.
 * Returns false only on a time-out.
 */
export function waitWord(
  words: Int32Array,
  index: number,
  expected: number,
  timeoutMs: number,
): boolean {
  return Atomics.wait(words, index, expected, timeoutMs) !== "timed-out";
}

/** Wakes up to `count` sleepers of the word. */
export function notifyWord(words: Int32Array, index: number, count: number): void {
  Atomics.notify(words, index, count);
}

/** Adds to a counter; no other access is ordered by it. Returns the value before. */
export function countWord(words: Int32Array, index: number, value: number): number {
  return Atomics.add(words, index, value);
}

export function racyLoad(words: Int32Array, index: number): number {
  return words[index] as number;
}

export function racyStore(words: Int32Array, index: number, value: number): void {
  words[index] = value;
}

/** As racyLoad, for a byte of guest memory. */
export function racyLoadByte(bytes: Uint8Array, index: number): number {
  return bytes[index] as number;
}

/** As racyStore, for a byte of guest memory. */
export function racyStoreByte(bytes: Uint8Array, index: number, value: number): void {
  bytes[index] = value;
}

export function plainLoad(words: Int32Array, index: number): number {
  return words[index] as number;
}

export function plainStore(words: Int32Array, index: number, value: number): void {
  words[index] = value;
}

/** A 53-bit counter with one writer; readers may see the value before or after, never a mixture on 64-bit engines. */
export function plainLoadWide(wide: Float64Array, index: number): number {
  return wide[index] as number;
}

export function plainStoreWide(wide: Float64Array, index: number, value: number): void {
  wide[index] = value;
}
