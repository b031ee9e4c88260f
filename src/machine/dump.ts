/**
 * dump - the page tables and frame records of a machine as they stand, for whoever looks into a failure. Read
 * word by word while others may go on: a picture of one moment only when nobody does.
 */
import { mappingId, mappingTag, PTE_FLAGS_MASK, PTE_NONE, ptePfn } from "../base/layout.js";
import { framesEnd, isFrame, type Memory, nodeOf } from "../base/memory.js";
import type { Gfn, GuestId, Nid, Pfn } from "../base/units.js";
import { frameIsFree } from "../mm/frames.js";
import { guestBase, guestCount, guestIsLive, guestPages } from "../mm/guest.js";
import { pageIsLocked } from "../mm/page-lock.js";
import { frameIndex, readMapping } from "../mm/page-mapping.js";
import { mapcount, pageRef } from "../mm/page-ref.js";
import { readPte } from "../mm/pte.js";

interface PteRecord {
  readonly guest: GuestId;
  readonly gfn: Gfn;
  readonly pfn: Pfn;
  /** The low bits of the word, as base/layout.ts names them. */
  readonly flags: number;
}

interface FrameRecord {
  readonly pfn: Pfn;
  readonly node: Nid;
  readonly ref: number;
  readonly mapcount: number;
  readonly locked: boolean;
  readonly free: boolean;
  /** 0 nobody, 1 anonymous, 2 KSM; with the number of the guest family or the stable node. */
  readonly tag: number;
  readonly owner: number;
  readonly index: number;
}

export interface MachineDump {
  /** Those that are not empty. */
  readonly ptes: readonly PteRecord[];
  /** Those that are not as a free frame is. */
  readonly frames: readonly FrameRecord[];
}

export function dumpMachine(memory: Memory): MachineDump {
  const ptes: PteRecord[] = [];
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (!guestIsLive(memory, guest)) continue;
    const base = guestBase(memory, guest);
    for (let gfn = 0; gfn < guestPages(memory, guest); gfn++) {
      const pte = readPte(memory, base + gfn);
      if (pte !== PTE_NONE)
        ptes.push({ guest, gfn, pfn: ptePfn(pte), flags: pte & PTE_FLAGS_MASK });
    }
  }
  const frames: FrameRecord[] = [];
  for (let pfn = 0; pfn < framesEnd(memory); pfn++) {
    if (!isFrame(memory, pfn)) continue;
    const record = frameRecord(memory, pfn);
    const { ref, locked, free, tag } = record;
    if (ref !== 0 || locked || !free || tag !== 0) frames.push(record);
  }
  return { ptes, frames };
}

function frameRecord(memory: Memory, pfn: Pfn): FrameRecord {
  const mapping = readMapping(memory, pfn);
  return {
    pfn,
    node: nodeOf(memory, pfn),
    ref: pageRef(memory, pfn),
    mapcount: mapcount(memory, pfn),
    locked: pageIsLocked(memory, pfn),
    free: frameIsFree(memory, pfn),
    tag: mappingTag(mapping),
    owner: mappingId(mapping),
    index: frameIndex(memory, pfn),
  };
}
