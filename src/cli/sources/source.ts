/**
 * source - what a guest is filled with. Structured-cloneable: the node workers read it, to load a guest
 * and again to verify it.
 */
import { PAGE_SIZE } from "../../base/units.js";

/** A file, and the bytes it had when it was looked at. */
export interface SourceFile {
  readonly path: string;
  readonly bytes: number;
}

/** Files one after the other, each from the beginning of a page on; their last pages end in zeros. */
export interface FilesData {
  readonly kind: "files";
  readonly files: readonly SourceFile[];
}

/** Pages made from numbers; see synth.ts. */
export interface SynthData {
  readonly kind: "synth";
  readonly pages: number;
  readonly zeroPages: number;
  readonly dupPages: number;
  readonly alike: number;
  readonly seed: number;
}

/** Pages of an address space: `pages[i]` of them from `starts[i]` on. */
export interface PageRanges {
  /** Addresses, multiples of 4096, ascending. */
  readonly starts: Float64Array;
  readonly pages: Uint32Array;
}

/** What stays of a live process to verify its guest with: all bytes, a digest of each page, or nothing. */
export type Keeping = keyof typeof KEPT_BYTES;

/** Bytes that are kept of a page. */
export const KEPT_BYTES = { bytes: PAGE_SIZE, sha256: 32, nothing: 0 } as const;

/** Private anonymous pages of a live process, one after the other. */
export interface ProcessData {
  readonly kind: "process";
  /** As the user wrote it. */
  readonly spec: string;
  /** Its memory, open in this process; see process/memory.ts. */
  readonly memory: number;
  readonly ranges: PageRanges;
  readonly keeping: Keeping;
}

/** What gives the same bytes again. */
export type RereadableData = FilesData | SynthData;
export type SourceData = RereadableData | ProcessData;

export interface Source {
  /** Name of the guest. */
  readonly name: string;
  /** As the user wrote it, or where it was found. */
  readonly source: string;
  readonly data: SourceData;
  readonly bytes: number;
  /** Zero bytes that fill up the last pages. */
  readonly paddedBytes: number;
  readonly pages: number;
}

/** Sources, and what is to be known of them, a sentence each. */
export interface Resolved {
  readonly sources: readonly Source[];
  readonly notes: readonly string[];
}
