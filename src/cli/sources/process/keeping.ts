/**
 * keeping - what stays of live processes to verify their guests with.
 */
import { PAGE_SIZE } from "../../../base/units.js";
import { size } from "../../screen/figures.js";
import type { Keeping, Resolved, Source } from "../source.js";

/** Private copies take so much together at most; beyond, a digest of each page is kept. */
const COPIES_MAX = 2 ** 30;

/** `verify`: whether guests will be verified at all. */
export function withKeeping(sources: readonly Source[], verify: boolean): Resolved {
  if (!verify) return { sources: keeping(sources, "nothing"), notes: [] };
  const pages = sources.map((source) => (source.data.kind === "process" ? source.pages : 0));
  const bytes = pages.reduce((sum, each) => sum + each, 0) * PAGE_SIZE;
  if (bytes <= COPIES_MAX) return { sources, notes: [] };
  const note =
    `${size(bytes)} of process memory are more than ${size(COPIES_MAX)}: ` +
    "a SHA-256 of each page is kept to compare with, not the page";
  return { sources: keeping(sources, "sha256"), notes: [note] };
}

function keeping(sources: readonly Source[], what: Keeping): Source[] {
  return sources.map((source) => {
    const { data } = source;
    return data.kind === "process" ? { ...source, data: { ...data, keeping: what } } : source;
  });
}
