/**
 * placement - which source lies on which node, and how much memory a node needs.
 */
import { NUMBER_MAX, PAGE_SIZE } from "../base/units.js";
import { BadInput } from "./bad-input.js";
import type { Source } from "./source.js";

export interface Placement {
  /** By source: its node. */
  readonly nodes: readonly number[];
  readonly memoryPerNode: number;
  /** Bytes of all guests together. */
  readonly guestBytes: number;
}

/** Each source goes to the node that has least so far; a node gets what its sources need and an eighth. */
export function placeSources(sources: readonly Source[], nodes: number): Placement {
  const pages: number[] = new Array(nodes).fill(0);
  const placed = sources.map((source) => {
    const node = pages.indexOf(Math.min(...pages));
    pages[node] += source.pages;
    return node;
  });
  const needed = Math.max(...pages);
  const most = Math.floor(NUMBER_MAX / nodes);
  if (needed > most) {
    throw new BadInput(
      "sources",
      `they need ${gib(needed)} GiB on one node, and an engine of ${nodes} has ${gib(most)} on each`,
      nodes > 1 ? "use --nodes 1, or name fewer at once" : "name fewer at once",
    );
  }
  const perNode = Math.min(needed + Math.ceil(needed / 8), most);
  const total = pages.reduce((sum, each) => sum + each, 0);
  return { nodes: placed, memoryPerNode: perNode * PAGE_SIZE, guestBytes: total * PAGE_SIZE };
}

function gib(pages: number): string {
  return ((pages * PAGE_SIZE) / 2 ** 30).toFixed(1);
}
