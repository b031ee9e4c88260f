/**
 * source - what a guest is filled with. Structured-cloneable: the node workers read it, to load a guest
 * and again to verify it.
 */

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

export type SourceData = FilesData | SynthData;

export interface Source {
  /** Name of the guest; no two are the same. */
  readonly name: string;
  /** As the user wrote it, or where it was found. */
  readonly source: string;
  readonly data: SourceData;
  readonly bytes: number;
  /** Zero bytes that fill up the last pages. */
  readonly paddedBytes: number;
  readonly pages: number;
}
