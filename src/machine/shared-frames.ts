/**
 * shared-frames - which frames have several sharers, for whoever wants them moved. Read word by word while others go
 * on: each was one at some moment.
 */
import { MAPPING_TAG_KSM, mappingTag } from "../base/layout.js";
import { framesEnd, isFrame, type Memory } from "../base/memory.js";
import type { Pfn } from "../base/units.js";
import { readMapping } from "../mm/page-mapping.js";
import { mapcount } from "../mm/page-ref.js";

/** Frames of merged pages that have several sharers. */
export function sharedFrames(memory: Memory): Pfn[] {
  const pfns: Pfn[] = [];
  for (let pfn = 0; pfn < framesEnd(memory); pfn++) {
    if (!isFrame(memory, pfn)) continue;
    const isKsm = mappingTag(readMapping(memory, pfn)) === MAPPING_TAG_KSM;
    if (isKsm && mapcount(memory, pfn) > 1) pfns.push(pfn);
  }
  return pfns;
}
