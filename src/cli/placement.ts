/**
 * placement - which source lies on which node, and how much memory a node needs.
 */
import { NUMBER_MAX, PAGE_SIZE } from "../base/units.js";
import { BadInput } from "./bad-input.js";
import type { Source } from "./source.js";

interface Placement {
  /** By source: its node. */
  readonly nodes: readonly number[];
  readonly memoryPerNode: number;
  /** Bytes of all guests together. */
  readonly guestBytes: number;
}

/** An engine has so many vCPUs, and each guest needs one. */
const GUESTS_MAX = 2 ** 14;

/** Each source goes to the node that has least so far; a node gets what its sources need and an eighth. */
export function placeSources(sources: readonly Source[], nodes: number): Placement {
  const pages: number[] = new Array(nodes).fill(0);
  const placed = sources.map((source) => {
    const node = pages.indexOf(Math.min(...pages));
    pages[node] += source.pages;
    return node;
  });
  const needed = Math.max(...pages);
  const total = pages.reduce((sum, each) => sum + each, 0);
  const most = Math.floor(NUMBER_MAX / nodes);
  checkSizes(sources.length, total, needed, most);
  const perNode = Math.min(needed + Math.ceil(needed / 8), most);
  return { nodes: placed, memoryPerNode: perNode * PAGE_SIZE, guestBytes: total * PAGE_SIZE };
}

/** What an engine cannot hold, in pages. */
function checkSizes(guests: number, total: number, needed: number, most: number): void {
  if (guests > GUESTS_MAX) {
    const wrong = `they are ${guests} guests, and an engine has ${GUESTS_MAX} at most`;
    throw new BadInput("sources", wrong, "name fewer at once");
  }
  if (total > NUMBER_MAX) {
    const wrong = `they have ${gib(total)} in all, and an engine holds ${gib(NUMBER_MAX)}`;
    throw new BadInput("sources", wrong, "name fewer at once");
  }
  if (needed > most) {
    const wrong = `they need ${gib(needed)} on one node, and it can have ${gib(most)}`;
    throw new BadInput("sources", wrong, "use fewer --nodes");
  }
}

function gib(pages: number): string {
  return `${((pages * PAGE_SIZE) / 2 ** 30).toFixed(1)} GiB`;
}
