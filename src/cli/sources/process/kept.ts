/**
 * kept - private copies of what was read from live processes, to compare guests with: a process that runs
 * on cannot be read again.
 *
 * They lie in the heap of the node worker that loaded the guest, outside the engine's memory. Where processes
 * have much memory, a SHA-256 of each page is kept instead; nothing, where guests are not verified.
 */
import { createHash } from "node:crypto";
import { type GuestId, PAGE_SIZE } from "../../../base/units.js";
import type { Chunk } from "../chunk.js";
import { KEPT_BYTES, type Keeping } from "../source.js";

const DIGEST_BYTES = KEPT_BYTES.sha256;

/** Pages behind each other, as they were read. */
export interface KeptChunk {
  /** Address in the guest. */
  readonly address: number;
  readonly length: number;
  /** Whether page number `page` of the chunk has these bytes. */
  isEqual(page: number, bytes: Uint8Array): boolean;
}

const byGuest = new Map<GuestId, KeptChunk[]>();

export function keep(guest: GuestId, chunk: Chunk, keeping: Keeping): void {
  if (keeping === "nothing") return;
  const chunks = byGuest.get(guest) ?? [];
  byGuest.set(guest, chunks);
  chunks.push(keeping === "bytes" ? keptBytes(chunk) : keptDigests(chunk));
}

/** What was kept of a guest, once: it is forgotten here. */
export function takeKept(guest: GuestId): readonly KeptChunk[] {
  const chunks = byGuest.get(guest) ?? [];
  byGuest.delete(guest);
  return chunks;
}

function keptBytes({ address, bytes }: Chunk): KeptChunk {
  const copy = Buffer.from(bytes);
  const isEqual = (page: number, actual: Uint8Array): boolean =>
    copy.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE).equals(actual);
  return { address, length: bytes.length, isEqual };
}

function keptDigests({ address, bytes }: Chunk): KeptChunk {
  const digests = Buffer.alloc((bytes.length / PAGE_SIZE) * DIGEST_BYTES);
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
    digestOf(bytes.subarray(at, at + PAGE_SIZE)).copy(digests, (at / PAGE_SIZE) * DIGEST_BYTES);
  }
  const isEqual = (page: number, actual: Uint8Array): boolean =>
    digests.subarray(page * DIGEST_BYTES, (page + 1) * DIGEST_BYTES).equals(digestOf(actual));
  return { address, length: bytes.length, isEqual };
}

function digestOf(page: Uint8Array): Buffer {
  return createHash("sha256").update(page).digest();
}
