/**
 * mix - the contents of the pages that are folded: random bytes, so that two contents differ in their
 * first bytes, which is the kernel's best case.
 */

export const PAGE = 4096;
const WORDS = PAGE / 4;

/** Byte of a page at which the "dirty" phase stores a word. */
export const DIRTY_BYTE = 4000;
/** One page in so many is written in the "dirty" phase. */
export const DIRTY_STEP = 100;

/** Pages that are alike, where pages are. */
const ALIKE = 16;

export interface Mix {
  readonly name: string;
  readonly title: string;
  /** Number of the content of `page`, of `pages` pages. */
  content(page: number, pages: number): number;
  /** Contents that 16 pages have; the rest of the pages is unlike any other. */
  shared(pages: number): number;
}

export const MIXES: readonly Mix[] = [
  {
    name: "unique",
    title: "no two alike",
    content: (page) => page,
    shared: () => 0,
  },
  {
    name: "half",
    title: "every second one has 15 like it",
    content: (page, pages) => (page % 2 === 0 ? pages + page : (page >>> 1) % (pages / 2 / ALIKE)),
    shared: (pages) => pages / 2 / ALIKE,
  },
  {
    name: "all",
    title: "every page has 15 like it",
    content: (page, pages) => page % (pages / ALIKE),
    shared: (pages) => pages / ALIKE,
  },
];

/** What KSM's counters read when everything is merged, in the kernel as here. */
export interface Merged {
  readonly pages_shared: number;
  readonly pages_sharing: number;
  readonly pages_unshared: number;
}

export function mergedCounters(mix: Mix, pages: number): Merged {
  const shared = mix.shared(pages);
  return {
    pages_shared: shared,
    pages_sharing: shared * (ALIKE - 1),
    pages_unshared: pages - shared * ALIKE,
  };
}

/** A sentence if the counters are not those of the mix, else null. */
export function counterProblem(counters: Merged, expected: Merged): string | null {
  for (const name of ["pages_shared", "pages_sharing", "pages_unshared"] as const) {
    if (counters[name] !== expected[name]) {
      return `${name} is ${counters[name]}, and ${expected[name]} when all is merged`;
    }
  }
  return null;
}

/** The bytes of a mix, in memory that threads share. `pages` is a multiple of 32. */
export function createPages(mix: Mix, pages: number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(pages * PAGE);
  const words = new Int32Array(buffer);
  for (let page = 0; page < pages; page++) {
    // Distinct for distinct contents, and so is what xorshift makes of it.
    let state = Math.imul(mix.content(page, pages) + 1, 0x9e3779b1);
    for (let word = page * WORDS; word < (page + 1) * WORDS; word++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      words[word] = state;
    }
  }
  return buffer;
}

/** The word that the "dirty" phase number `salt` (0 to 15) stores in `page`: no two pages get the same. */
export function dirtyWord(page: number, salt: number): number {
  return page * 16 + salt;
}
