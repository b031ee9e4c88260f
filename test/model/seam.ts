/**
 * seam - the twin of src/base/atomics.ts in which every operation is an operation of the explorer.
 * Same names, same meaning; the loader puts it in the place of the original.
 */
import { explorer } from "./explorer.js";

export function loadWord(words: Int32Array, index: number): number {
  return explorer.operation("load", words, index, true, () => words[index] as number);
}

export function storeWord(words: Int32Array, index: number, value: number): void {
  explorer.operation("store", words, index, true, () => {
    explorer.write(words, index, value);
    return value | 0;
  });
}

function modify(
  kind: string,
  words: Int32Array,
  index: number,
  change: (before: number) => number,
): number {
  return explorer.operation(kind, words, index, true, () => {
    const before = words[index] as number;
    explorer.write(words, index, change(before));
    return before;
  });
}

export function addWord(words: Int32Array, index: number, value: number): number {
  return modify("add", words, index, (before) => before + value);
}

export function orWord(words: Int32Array, index: number, value: number): number {
  return modify("or", words, index, (before) => before | value);
}

export function exchangeWord(words: Int32Array, index: number, value: number): number {
  return modify("exchange", words, index, () => value);
}

export function casWord(words: Int32Array, index: number, expected: number, value: number): number {
  return modify("cas", words, index, (before) => (before === expected ? value : before));
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
  explorer.operation("notify", words, index, true, () => explorer.wake(words, index, count));
}

/** Orders nothing; whoever reads the counter racily sees when it happens. */
export function countWord(words: Int32Array, index: number, value: number): number {
  return explorer.operation("count", words, index, true, () => {
    const before = words[index] as number;
    explorer.write(words, index, before + value);
    return before;
  });
}

export function racyLoad(words: Int32Array, index: number): number {
  return explorer.operation("racyLoad", words, index, true, () => words[index] as number);
}

export function racyStore(words: Int32Array, index: number, value: number): void {
  explorer.operation("racyStore", words, index, true, () => {
    explorer.write(words, index, value);
    return value | 0;
  });
}

export function racyLoadByte(): number {
  throw new Error("models access guest memory by words");
}

export function racyStoreByte(): void {
  throw new Error("models access guest memory by words");
}

export function plainLoad(words: Int32Array, index: number): number {
  return explorer.operation("plainLoad", words, index, false, () => words[index] as number);
}

export function plainStore(words: Int32Array, index: number, value: number): void {
  explorer.operation("plainStore", words, index, false, () => {
    explorer.write(words, index, value);
    return value | 0;
  });
}

/** Statistics: no protocol reads them. */
export function plainLoadWide(wide: Float64Array, index: number): number {
  return wide[index] as number;
}

export function plainStoreWide(_wide: Float64Array, _index: number, _value: number): void {}
