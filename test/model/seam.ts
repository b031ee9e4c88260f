/**
 * seam - the twin of src/base/atomics.ts in which every operation is an operation of the explorer.
 * Same names, same meaning; the loader puts it in the place of the original.
 */
import { explorer } from "./explorer.js";

// What the operations do. No closures: there are millions of operations.

function read(words: Int32Array, index: number): number {
  return words[index] as number;
}

function write(words: Int32Array, index: number, value: number): number {
  explorer.write(words, index, value);
  return value | 0;
}

function add(words: Int32Array, index: number, value: number): number {
  const before = words[index] as number;
  explorer.write(words, index, before + value);
  return before;
}

function or(words: Int32Array, index: number, value: number): number {
  const before = words[index] as number;
  explorer.write(words, index, before | value);
  return before;
}

function exchange(words: Int32Array, index: number, value: number): number {
  const before = words[index] as number;
  explorer.write(words, index, value);
  return before;
}

function cas(words: Int32Array, index: number, expected: number, value: number): number {
  const before = words[index] as number;
  explorer.write(words, index, before === expected ? value : before);
  return before;
}

function wake(words: Int32Array, index: number, count: number): number {
  return explorer.wake(words, index, count);
}

export function loadWord(words: Int32Array, index: number): number {
  return explorer.operation("load", words, index, true, read);
}

export function storeWord(words: Int32Array, index: number, value: number): void {
  explorer.operation("store", words, index, true, write, value);
}

export function addWord(words: Int32Array, index: number, value: number): number {
  return explorer.operation("add", words, index, true, add, value);
}

export function orWord(words: Int32Array, index: number, value: number): number {
  return explorer.operation("or", words, index, true, or, value);
}

export function exchangeWord(words: Int32Array, index: number, value: number): number {
  return explorer.operation("exchange", words, index, true, exchange, value);
}

export function casWord(words: Int32Array, index: number, expected: number, value: number): number {
  return explorer.operation("cas", words, index, true, cas, expected, value);
}

export function waitWord(
  words: Int32Array,
  index: number,
  expected: number,
  _timeoutMs: number,
): boolean {
  return explorer.sleep(words, index, expected) === 1;
}

export function notifyWord(words: Int32Array, index: number, count: number): void {
  explorer.operation("notify", words, index, true, wake, count);
}

/** Orders nothing; whoever reads the counter racily sees when it happens. */
export function countWord(words: Int32Array, index: number, value: number): number {
  return explorer.operation("count", words, index, true, add, value);
}

export function racyLoad(words: Int32Array, index: number): number {
  return explorer.operation("racyLoad", words, index, true, read);
}

export function racyStore(words: Int32Array, index: number, value: number): void {
  explorer.operation("racyStore", words, index, true, write, value);
}

export function racyLoadByte(): number {
  throw new Error("models access guest memory by words");
}

export function racyStoreByte(): void {
  throw new Error("models access guest memory by words");
}

export function plainLoad(words: Int32Array, index: number): number {
  return explorer.operation("plainLoad", words, index, false, read);
}

export function plainStore(words: Int32Array, index: number, value: number): void {
  explorer.operation("plainStore", words, index, false, write, value);
}

/** Statistics: no protocol reads them. */
export function plainLoadWide(wide: Float64Array, index: number): number {
  return wide[index] as number;
}

export function plainStoreWide(_wide: Float64Array, _index: number, _value: number): void {}
