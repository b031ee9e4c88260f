/**
 * cells - what the writers of stress.test.ts write, and what the test therefore must find: pure functions of
 * (guest, cell, version), known to both sides.
 *
 * A cell is a page, or half of one, that one thread writes. Version 2k is a base: bytes that many cells have
 * in common, so that ksmd merges them. Version 2k + 1 is that base with a stamp in it that no other cell
 * has: (guest, gfn, part, version). It is written into a merged page, so it breaks the sharing.
 */

export const PAGE = 4096;
const CLASSES = 32;

/** @typedef {{ gfn: number, from: number, length: number, class: number }} Cell */

/** The cells of thread `thread` of `threads`: pages of its own, and its part of pages that all write. */
export function cellsOf(thread, threads, pages, shared) {
  const cells = [];
  for (let gfn = 0; gfn < pages; gfn++) {
    if (gfn < shared) {
      const length = PAGE / threads;
      cells.push({ gfn, from: thread * length, length, class: gfn % CLASSES });
    } else if (gfn % threads === thread) {
      cells.push({ gfn, from: 0, length: PAGE, class: (gfn >>> 3) % CLASSES });
    }
  }
  return cells;
}

const bases = Array.from({ length: CLASSES }, (_, number) => {
  const words = new Int32Array(PAGE / 4);
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(number + 1, 0x9e3779b1) ^ (i >>> 4);
  return new Uint8Array(words.buffer);
});

export function baseOf(cell) {
  return bases[cell.class].subarray(cell.from, cell.from + cell.length);
}

/** Where in the cell the stamp of a version lies, and its words. */
export function stampOf(guest, cell, version) {
  const at = (Math.imul(version, 52) % (cell.length - 16)) & ~3;
  return { at, words: [guest, cell.gfn, cell.from, version] };
}

/** The bytes of the cell at this version. */
export function bytesOf(guest, cell, version) {
  const bytes = baseOf(cell).slice();
  if (version % 2 === 1) {
    const { at, words } = stampOf(guest, cell, version);
    new Int32Array(bytes.buffer, bytes.byteOffset + at, 4).set(words);
  }
  return bytes;
}
