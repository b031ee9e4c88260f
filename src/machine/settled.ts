/**
 * settled - whether everything is merged that can be, found by comparing the bytes of all pages: what ksmd must have
 * come to after some passes in which nobody wrote, pinned or moved a page. All of them are mergeable.
 */
import { createHash } from "node:crypto";
import { PTE_MERGED, PTE_NONE, ptePfn } from "../base/layout.js";
import { frameView, type Memory, nodeOf } from "../base/memory.js";
import type { Gfn, GuestId, Pfn } from "../base/units.js";
import type { Knobs } from "../ksm/knobs.js";
import { guestBase, guestCount, guestIsLive, guestPages } from "../mm/guest.js";
import { readPte } from "../mm/pte.js";

/** Pages with the same bytes, of one node where pages of different nodes are not merged. */
interface Content {
  /** Those that are not merged. */
  readonly alone: { readonly guest: GuestId; readonly gfn: Gfn }[];
  /** By frame of merged pages: how many of them have it. */
  readonly sharers: Map<Pfn, number>;
}

/** A line for each content of which a page is alone that others, or a frame with room, could share. */
export function unsettledContents(memory: Memory, knobs: Knobs): string[] {
  const problems: string[] = [];
  for (const { alone, sharers } of contentsOf(memory, knobs).values()) {
    const [page] = alone;
    if (page === undefined) continue;
    const rooms = [...sharers].filter(([, pages]) => pages < knobs.maxPageSharing);
    if (alone.length === 1 && rooms.length === 0) continue;
    const which = `guest ${page.guest} page ${page.gfn}`;
    const beside = `${alone.length - 1} equal pages and ${rooms.length} frames with room`;
    problems.push(`${which} is not merged, beside ${beside}`);
  }
  return problems;
}

function contentsOf(memory: Memory, { mergeAcrossNodes }: Knobs): Map<string, Content> {
  const contents = new Map<string, Content>();
  const names = new Map<Pfn, string>();
  for (const page of pagesOf(memory)) {
    const { pfn, isMerged } = page;
    const node = mergeAcrossNodes === 1 ? 0 : nodeOf(memory, pfn);
    const name = names.get(pfn) ?? `${node}.${digest(memory, pfn)}`;
    names.set(pfn, name);
    const content = contents.get(name) ?? { alone: [], sharers: new Map<Pfn, number>() };
    contents.set(name, content);
    if (isMerged) content.sharers.set(pfn, (content.sharers.get(pfn) ?? 0) + 1);
    else content.alone.push(page);
  }
  return contents;
}

function* pagesOf(memory: Memory) {
  for (let guest = 0; guest < guestCount(memory); guest++) {
    if (!guestIsLive(memory, guest)) continue;
    const base = guestBase(memory, guest);
    for (let gfn = 0; gfn < guestPages(memory, guest); gfn++) {
      const pte = readPte(memory, base + gfn);
      if (pte === PTE_NONE) continue;
      yield { guest, gfn, pfn: ptePfn(pte), isMerged: (pte & PTE_MERGED) !== 0 };
    }
  }
}

function digest(memory: Memory, pfn: Pfn): string {
  return createHash("sha1").update(frameView(memory, pfn)).digest("base64");
}
