/**
 * verify - the guest program that reads every page of a guest through its vCPU and compares all of its
 * bytes with the source: read again, or kept as it was read where that is not possible.
 *
 * Both lie in private memory and Node compares them: neither pagefold's hash nor its compare takes part.
 */
import { setImmediate } from "node:timers/promises";
import { PAGE_SIZE } from "../../base/units.js";
import type { GuestProgram, Vcpu } from "../../index.js";
import { isBadInput } from "../bad-input.js";
import type { Chunk } from "../sources/chunk.js";
import { type KeptChunk, takeKept } from "../sources/process/kept.js";
import { readChunks } from "../sources/reader.js";
import type { RereadableData, SourceData } from "../sources/source.js";
import { openTeller } from "./progress-channel.js";

/** What verifying a guest came to. */
export interface Verified {
  pages: number;
  mismatches: number;
  /** Numbers of the first pages that differ. */
  readonly first: number[];
  /** Why the source could not be read again; the pages from there on count as mismatches. */
  unreadable: string | null;
}

type Tell = (pages: number) => void;

/** Pages that are named. */
const FIRST_MAX = 3;

const verify: GuestProgram = async (vcpu, { guest, args, bytes: end }): Promise<Verified> => {
  const result: Verified = { pages: 0, mismatches: 0, first: [], unreadable: null };
  const data = args as SourceData;
  const { tell, close } = openTeller();
  try {
    if (data.kind === "process") await verifyKept(vcpu, takeKept(guest), result, tell);
    else await verifyReread(vcpu, data, end, result, tell);
  } finally {
    close();
  }
  return result;
};

export default verify;

async function verifyKept(
  vcpu: Vcpu,
  chunks: readonly KeptChunk[],
  result: Verified,
  tell: Tell,
): Promise<void> {
  for (const { address, length, isEqual } of chunks) {
    comparePages(vcpu.read(address, length), address, isEqual, result);
    result.pages += length / PAGE_SIZE;
    tell(length / PAGE_SIZE);
    await setImmediate();
  }
}

async function verifyReread(
  vcpu: Vcpu,
  data: RereadableData,
  end: number,
  result: Verified,
  tell: Tell,
): Promise<void> {
  try {
    for (const chunk of readChunks(data)) {
      compareChunk(vcpu.read(chunk.address, chunk.bytes.length), chunk, result);
      tell(chunk.bytes.length / PAGE_SIZE);
      await setImmediate();
    }
  } catch (error) {
    if (!isBadInput(error)) throw error;
    result.unreadable = error.message;
  }
  while (result.pages < end / PAGE_SIZE) mismatch(result, result.pages++);
}

function compareChunk(actual: Uint8Array, { address, bytes }: Chunk, result: Verified): void {
  result.pages += bytes.length / PAGE_SIZE;
  if (bytes.equals(actual)) return;
  const isEqual = (page: number, read: Uint8Array): boolean =>
    bytes.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE).equals(read);
  comparePages(actual, address, isEqual, result);
}

function comparePages(
  actual: Uint8Array,
  address: number,
  isEqual: KeptChunk["isEqual"],
  result: Verified,
): void {
  for (let at = 0; at < actual.length; at += PAGE_SIZE) {
    const page = actual.subarray(at, at + PAGE_SIZE);
    if (!isEqual(at / PAGE_SIZE, page)) mismatch(result, (address + at) / PAGE_SIZE);
  }
}

function mismatch(result: Verified, page: number): void {
  result.mismatches++;
  if (result.first.length < FIRST_MAX) result.first.push(page);
}
