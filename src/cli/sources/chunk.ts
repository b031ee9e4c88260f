/**
 * chunk - pieces in which guests are loaded and compared.
 */

/** Bytes of a chunk at most. */
export const CHUNK_BYTES = 2 ** 20;

export interface Chunk {
  /** Address in the guest. */
  readonly address: number;
  /** Whole pages; overwritten by the next chunk. */
  readonly bytes: Buffer;
}
