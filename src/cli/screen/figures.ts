/**
 * figures - numbers as people read them.
 */
import { PAGE_SIZE } from "../../base/units.js";

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;

export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function size(bytes: number): string {
  // What would be rounded to 1,024 of a unit is 1 of the next.
  if (bytes < MIB - KIB / 2) return `${count(bytes / KIB)} KiB`;
  if (bytes < GIB - MIB / 20) return `${(bytes / MIB).toFixed(1)} MiB`;
  return `${(bytes / GIB).toFixed(2)} GiB`;
}

/** Pages as the bytes that they are. */
export function sizeOfPages(pages: number): string {
  return size(pages * PAGE_SIZE);
}

export function duration(seconds: number): string {
  if (seconds < 0.0001) return `${(seconds * 1e6).toFixed(seconds < 0.00001 ? 1 : 0)} us`;
  if (seconds >= 1) return `${seconds.toFixed(2)} s`;
  return `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms`;
}

/** A part of nothing is nothing. */
export function percent(part: number, whole: number): string {
  return `${(whole === 0 ? 0 : (100 * part) / whole).toFixed(1)}%`;
}

/** A word of memory. */
export function hex(word: number): string {
  return `0x${(word >>> 0).toString(16).padStart(8, "0")}`;
}
