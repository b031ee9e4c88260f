/**
 * peek - telling two contents of one hash apart without holding their frames.
 *
 * Contents with one hash stand in one list, and each would cost a merge attempt: a dozen atomic operations
 * and a compare. A look at a few words refuses nearly all of them. The look takes no reference, so what it
 * read counts only if the page still is in that frame afterwards: a wrong "different" would be permanent.
 */
import { racyLoad } from "../base/atomics.js";
import { kpfnPfn, ptePfn } from "../base/layout.js";
import { blockOf, frameByte, type Memory } from "../base/memory.js";
import { PAGE_WORDS, type Pfn, type Slot, type StableId } from "../base/units.js";
import { readKpfn } from "../mm/keyhole.js";
import { readMapping } from "../mm/page-mapping.js";
import { readPte } from "../mm/pte.js";
import { pteIsQuiet } from "./merge.js";
import { keyOf } from "./stable.js";

/** Words that are looked at: the first, one in the middle, the last two. */
const WORDS = [0, PAGE_WORDS >>> 1, PAGE_WORDS - 2, PAGE_WORDS - 1];

/** Do the page and the candidate differ for certain? */
export function differsFromCandidate(memory: Memory, slot: Slot, candidate: Slot): boolean {
  const pte = readPte(memory, slot);
  const other = readPte(memory, candidate);
  if (!pteIsQuiet(pte) || !pteIsQuiet(other)) return false;
  if (!wordsDiffer(memory, ptePfn(pte), ptePfn(other))) return false;
  return readPte(memory, slot) === pte && readPte(memory, candidate) === other;
}

/** Do the page and the node's frame differ for certain? */
export function differsFromNode(memory: Memory, slot: Slot, stable: StableId): boolean {
  const pte = readPte(memory, slot);
  const kpfn = readKpfn(memory, stable);
  const target = kpfnPfn(kpfn);
  if (!pteIsQuiet(pte) || !wordsDiffer(memory, ptePfn(pte), target)) return false;
  if (readPte(memory, slot) !== pte || readMapping(memory, target) !== keyOf(memory, stable))
    return false;
  // Moved away and back meanwhile, the frame had another's bytes in between (H24).
  return readKpfn(memory, stable) === kpfn;
}

function wordsDiffer(memory: Memory, a: Pfn, b: Pfn): boolean {
  const aWords = blockOf(memory, a).words;
  const bWords = blockOf(memory, b).words;
  const aFirst = frameByte(memory, a) >>> 2;
  const bFirst = frameByte(memory, b) >>> 2;
  for (const word of WORDS) {
    // RACY: guests may write, and the frames may change hands; the callers read the ptes and the key again.
    if (racyLoad(aWords, aFirst + word) !== racyLoad(bWords, bFirst + word)) return true;
  }
  return false;
}
