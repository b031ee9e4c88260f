/**
 * verify - the guest program that reads every page of a guest through its vCPU and compares all of its
 * bytes with the source, which it reads again.
 *
 * Both lie in private memory and Node compares them: neither pagefold's hash nor its compare takes part.
 */
import { setImmediate } from "node:timers/promises";
import { PAGE_SIZE } from "../../base/units.js";
import type { GuestProgram } from "../../index.js";
import { isBadInput } from "../bad-input.js";
import { type Chunk, readChunks } from "../reader.js";
import type { SourceData } from "../source.js";

/** What verifying a guest came to. */
export interface Verified {
  pages: number;
  mismatches: number;
  /** Numbers of the first pages that differ. */
  readonly first: number[];
  /** Why the source could not be read again; the pages from there on count as mismatches. */
  unreadable: string | null;
}

/** Pages that are named. */
const FIRST_MAX = 3;

const verify: GuestProgram = async (vcpu, { args, bytes: end }): Promise<Verified> => {
  const result: Verified = { pages: 0, mismatches: 0, first: [], unreadable: null };
  try {
    for (const chunk of readChunks(args as SourceData)) {
      compare(vcpu.read(chunk.address, chunk.bytes.length), chunk, result);
      await setImmediate();
    }
  } catch (error) {
    if (!isBadInput(error)) throw error;
    result.unreadable = error.message;
  }
  while (result.pages < end / PAGE_SIZE) mismatch(result, result.pages++);
  return result;
};

export default verify;

function compare(actual: Uint8Array, { address, bytes }: Chunk, result: Verified): void {
  result.pages += bytes.length / PAGE_SIZE;
  if (bytes.equals(actual)) return;
  for (let at = 0; at < bytes.length; at += PAGE_SIZE) {
    const page = actual.subarray(at, at + PAGE_SIZE);
    if (!bytes.subarray(at, at + PAGE_SIZE).equals(page)) {
      mismatch(result, (address + at) / PAGE_SIZE);
    }
  }
}

function mismatch(result: Verified, page: number): void {
  result.mismatches++;
  if (result.first.length < FIRST_MAX) result.first.push(page);
}
