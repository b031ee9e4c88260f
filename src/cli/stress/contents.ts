/**
 * contents - what a stress writes into pages, so that any word tells whether it belongs where it was read.
 *
 * A content is a number, its *code*: 0 is zeros, 1 to `patterns` the patterns that all guests write, and
 * beyond them version 1, 2, ... of the one page that they were written to. Word i of a page is
 *
 *   start + i * STEP        start: of a pattern its own; of a stamp that of (guest, gfn), plus the version
 *
 * modulo 2^32, so start, and with it guest, gfn and version, follow from any word alone. Starts are spread by
 * a hash over 2^32 and versions stay below VERSIONS: a word of another page passes once in 4,096 times, and the
 * 1,024 words of one never.
 */
import { PAGE_WORDS } from "../../base/units.js";
import { mix } from "../random.js";

/** Odd, so that word i of a page is none of its neighbours. */
const STEP = 0x9e3779b1 | 0;

/** Versions of a page that are told apart from other pages. */
export const VERSIONS = 2 ** 20;

const ZEROS = 0;

/** What one run writes. */
export class Contents {
  readonly patterns: number;
  readonly #seed: number;
  /** By pattern less one: its start. */
  readonly #starts: Int32Array;

  #lastStart = 0;
  #lastBase = 0;
  #lastCode = -1;

  constructor(seed: number, patterns: number) {
    this.patterns = patterns;
    this.#seed = seed;
    this.#starts = Int32Array.from({ length: patterns }, (_, i) => mix(mix(seed, -1), i));
  }

  codeOfVersion(version: number): number {
    return this.patterns + version;
  }

  /** 0 of a pattern, and of zeros. */
  versionOf(code: number): number {
    return Math.max(0, code - this.patterns);
  }

  /** What the stamps of a page begin with. */
  baseOf(guest: number, gfn: number): number {
    return mix(mix(this.#seed, guest), gfn);
  }

  /** Word `i` of content `code` of the page whose stamps begin with `base`. */
  word(code: number, base: number, i: number): number {
    if (code === ZEROS) return 0;
    return (this.#start(code, base) + Math.imul(i, STEP)) | 0;
  }

  /** Fills words [from, to) of a page. */
  fill(words: Int32Array, code: number, base: number, from = 0, to = PAGE_WORDS): void {
    if (code === ZEROS) {
      words.fill(0, from, to);
      return;
    }
    let value = (this.#start(code, base) + Math.imul(from, STEP)) | 0;
    for (let i = from; i < to; i++) {
      words[i] = value;
      value = (value + STEP) | 0;
    }
  }

  /** The first of words [from, to) that is not content `code`, or -1. */
  firstWrong(words: Int32Array, code: number, base: number, from: number, to: number): number {
    const step = code === ZEROS ? 0 : STEP;
    let value = this.word(code, base, from);
    for (let i = from; i < to; i++) {
      if (words[i] !== value) return i;
      value = (value + step) | 0;
    }
    return -1;
  }

  /**
   * The code that word `i` belongs to on the page whose stamps begin with `base`; -1: to none. What may be zeros or
   * a pattern passes for that, also where it may be a version by chance.
   */
  codeOf(word: number, base: number, i: number): number {
    if (word === 0) return ZEROS;
    const start = (word - Math.imul(i, STEP)) | 0;
    // The words of a page have one start, or few.
    if (start === this.#lastStart && base === this.#lastBase) return this.#lastCode;
    const pattern = this.#starts.indexOf(start);
    const version = (start - base) >>> 0;
    const isVersion = version > 0 && version < VERSIONS;
    this.#lastStart = start;
    this.#lastBase = base;
    this.#lastCode = pattern >= 0 ? pattern + 1 : isVersion ? this.codeOfVersion(version) : -1;
    return this.#lastCode;
  }

  describe(code: number): string {
    if (code === ZEROS) return "zeros";
    return code <= this.patterns ? `pattern ${code}` : `version ${this.versionOf(code)}`;
  }

  #start(code: number, base: number): number {
    const version = code - this.patterns;
    return version > 0 ? base + version : (this.#starts[code - 1] as number);
  }
}
