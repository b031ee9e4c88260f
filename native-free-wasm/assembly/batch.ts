// batch - the order in which the pages of a batch are read.
//
// Frames in address order stream: the hardware prefetches. In random order each page pays the
// latency of its first lines and the ramp of the prefetcher, 5 times the time of the hash. Then the
// group is touched first, transposed: line l of every page before line l + 1 of any, so that the
// misses of 16 pages overlap. That costs the same whatever the order (330 ns a page, hash included);
// pages that come in runs of 7 or more are faster without.
import { PAGE_SIZE, TOUCH_GROUP } from "./layout.gen";

/** Pages of the group that begins at entry `first`. */
export function groupSize(first: u32, count: u32): u32 {
  return min<u32>(count - first, TOUCH_GROUP);
}

/** Byte of the page that a list entry names. */
// @ts-ignore: decorator
@inline
export function pageAt(list: usize, index: u32): usize {
  return load<u32>(list + (<usize>index << 2));
}

/** Pages of the group that do not follow their predecessor in memory. */
function breaks(list: usize, count: u32): u32 {
  let found: u32 = 0;
  for (let i: u32 = 1; i < count; i++) {
    found += u32(pageAt(list, i) != pageAt(list, i - 1) + PAGE_SIZE);
  }
  return found;
}

/** From this mean length of run on, a group is not touched. */
const LONG_RUN: u32 = 6;

/** Touches the group if its runs are short. The result only keeps the loads alive. */
export function prepareGroup(list: usize, count: u32): u32 {
  let sum: u32 = 0;
  if (breaks(list, count) * LONG_RUN < count) return sum;
  for (let line: usize = 0; line < PAGE_SIZE; line += 64) {
    for (let i: u32 = 0; i < count; i++) sum += load<u32>(pageAt(list, i) + line);
  }
  return sum;
}
