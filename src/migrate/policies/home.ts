/**
 * home - where the pages of a frame are at home: each page on the home node of its guest. Advice, like all that a
 * policy plans with: the frame may be another's a moment later, and a migration finds out.
 */
import { MAPPING_NOBODY, MAPPING_TAG_ANON, mappingId, mappingTag } from "../../base/layout.js";
import { type Memory, nodeOf } from "../../base/memory.js";
import { type Nid, NONE, type Pfn } from "../../base/units.js";
import { putPage } from "../../mm/frames.js";
import { guestNode, nextInFamily } from "../../mm/guest.js";
import { trylockPage, unlockPage } from "../../mm/page-lock.js";
import { readMapping } from "../../mm/page-mapping.js";
import { REF_HELD, tryGetPage } from "../../mm/page-ref.js";
import { walkMappings } from "../../mm/rmap.js";

/**
 * The node where more pages of the frame are at home than on any other; its own if that has as many as any. NONE:
 * nobody maps it, or somebody is at it. `votes` is scratch, a word a node.
 */
export function homeOfFrame(memory: Memory, pfn: Pfn, votes: Int32Array): Nid {
  const mapping = readMapping(memory, pfn);
  if (mapping === MAPPING_NOBODY) return NONE;
  const family = mappingId(mapping);
  // The usual case needs no walk: a frame of a guest without relatives is that guest's.
  if (mappingTag(mapping) === MAPPING_TAG_ANON && nextInFamily(memory, family) === NONE) {
    return guestNode(memory, family);
  }
  // A sharer list may be walked only under the page lock, and while the frame cannot be freed.
  if (tryGetPage(memory, pfn) !== REF_HELD) return NONE;
  const locked = trylockPage(memory, pfn);
  const home = locked ? mostVotes(memory, pfn, votes) : NONE;
  if (locked) unlockPage(memory, pfn);
  putPage(memory, pfn);
  return home;
}

function mostVotes(memory: Memory, pfn: Pfn, votes: Int32Array): Nid {
  votes.fill(0);
  walkMappings(memory, pfn, (guest) => {
    votes[guestNode(memory, guest)]++;
    return true;
  });
  let most = nodeOf(memory, pfn);
  votes.forEach((pages, nid) => {
    if (pages > (votes[most] as number)) most = nid;
  });
  return votes[most] === 0 ? NONE : most;
}
