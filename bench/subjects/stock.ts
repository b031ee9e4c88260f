/**
 * stock - what a JavaScript developer would write to find equal pages: xxhash-wasm, a Map, Buffer.compare.
 * It shares nothing and nobody may write meanwhile; a second look at the same pages costs the same again.
 */
import createXxhash from "xxhash-wasm";
import { counterProblem, type Mix, mergedCounters, PAGE } from "../mix.js";
import type { FoldTimes } from "./passes.js";

const { h64Raw } = await createXxhash();

/** By page: the first page that is equal to it, itself included. */
function findEqualPages(bytes: Buffer): Int32Array {
  const firsts = new Map<bigint, number[]>();
  const equal = new Int32Array(bytes.length / PAGE);
  for (let page = 0; page < equal.length; page++) {
    const content = bytes.subarray(page * PAGE, (page + 1) * PAGE);
    const hash = h64Raw(content);
    const candidates = firsts.get(hash);
    const match = candidates?.find((first) => {
      const other = bytes.subarray(first * PAGE, (first + 1) * PAGE);
      return Buffer.compare(content, other) === 0;
    });
    equal[page] = match ?? page;
    if (candidates === undefined) firsts.set(hash, [page]);
    else if (match === undefined) candidates.push(page);
  }
  return equal;
}

export function foldByStock(mix: Mix, source: SharedArrayBuffer): FoldTimes {
  const bytes = Buffer.from(source);
  // The second time is timed: at the first, V8 compiles it and its heap grows.
  findEqualPages(bytes);
  const started = performance.now();
  const equal = findEqualPages(bytes);
  const seconds = (performance.now() - started) / 1000;
  const problem = counterProblem(countMerged(equal), mergedCounters(mix, equal.length));
  const merging = { seconds, cpuSeconds: null, hashed: equal.length };
  return { passes: { merging }, problems: problem === null ? [] : [problem] };
}

function countMerged(equal: Int32Array) {
  const copies = new Int32Array(equal.length);
  for (const first of equal) copies[first] = (copies[first] as number) + 1;
  let shared = 0;
  let unshared = 0;
  for (const count of copies) {
    if (count > 1) shared++;
    if (count === 1) unshared++;
  }
  const sharing = equal.length - shared - unshared;
  return { pages_shared: shared, pages_sharing: sharing, pages_unshared: unshared };
}

/** Hashes every page as stock JavaScript does, one by one. */
export function hashByStock(bytes: Buffer): bigint {
  let all = 0n;
  for (let at = 0; at < bytes.length; at += PAGE) all ^= h64Raw(bytes.subarray(at, at + PAGE));
  return all;
}
