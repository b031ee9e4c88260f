/**
 * memory - /proc/PID/mem: the memory of a process as a file, by address.
 *
 * Once open it stays that of the program which ran then: after its end, and when the process has started
 * another program, nothing is read. It is open for the whole pagefold process, so the node workers read it
 * by its number.
 */
import { openSync, readSync } from "node:fs";
import { reasonOf } from "../../bad-input.js";

/** What reading comes to where no page is mapped. */
export const NO_PAGE = -1;
/** What reading comes to when the program has ended. */
export const GONE = 0;

/** Throws what opening it throws. */
export function openMemory(pid: number): number {
  return openSync(`/proc/${pid}/mem`, "r");
}

/** Bytes that were read, whole pages; or GONE, or NO_PAGE. Throws any other error of reading. */
export function readMemory(memory: number, target: Buffer, address: number): number {
  try {
    return readSync(memory, target, 0, target.length, address);
  } catch (error) {
    if (["EIO", "EFAULT"].includes(reasonOf(error))) return NO_PAGE;
    throw error;
  }
}

export function hasGone(memory: number): boolean {
  // Whether something is mapped there makes no difference.
  return readMemory(memory, Buffer.alloc(1), 0) === GONE;
}
