/**
 * placement - which source lies on which node, and how much memory a node needs.
 */
import { NUMBER_MAX, PAGE_SIZE } from "../base/units.js";
import { BadInput } from "./bad-input.js";
import type { MemoryLeft } from "./memory-left.js";
import { size, sizeOfPages } from "./screen/figures.js";
import { KEPT_BYTES, type Source } from "./sources/source.js";

interface Placement {
  /** By source: its node. */
  readonly nodes: readonly number[];
  readonly memoryPerNode: number;
  /** Bytes of all guests together. */
  readonly guestBytes: number;
}

/** An engine has so many vCPUs, and each guest needs one. */
const GUESTS_MAX = 2 ** 14;

/** Blocks of a node at least, where they are not too small: memory goes back to the system in whole ones. */
const BLOCKS_PER_NODE = 16;
/** Blocks of all nodes, about: each costs every thread some memory. */
const BLOCKS_MAX = 128;
const BLOCK_BYTES_MIN = 2 ** 20;
const BLOCK_BYTES_MAX = 64 * 2 ** 20;

/** Bytes of tables for each page, about: its pte, item and stable node, and a frame's record. */
const TABLE_BYTES = 96;

/**
 * Each source goes to the node that has least so far; a node gets `asked` bytes, or what its sources need and
 * an eighth. Throws BadInput where they do not fit into an engine, or into the memory that is left.
 */
export function placeSources(
  sources: readonly Source[],
  nodes: number,
  asked: number | null,
  left: MemoryLeft,
): Placement {
  const pages: number[] = new Array(nodes).fill(0);
  const placed = sources.map((source) => {
    const node = pages.indexOf(Math.min(...pages));
    pages[node] += source.pages;
    return node;
  });
  const needed = Math.max(...pages);
  const total = pages.reduce((sum, each) => sum + each, 0);
  const most = Math.floor(NUMBER_MAX / nodes);
  checkTotals(sources.length, total);
  checkMemoryLeft(sources, left);
  checkNode(needed, most);
  const perNode =
    asked === null
      ? Math.min(needed + Math.ceil(needed / 8), most)
      : askedPages(asked, nodes, total, most);
  return { nodes: placed, memoryPerNode: perNode * PAGE_SIZE, guestBytes: total * PAGE_SIZE };
}

/** Bytes of a block of nodes with so much memory. */
export function blockBytesFor(memoryPerNode: number, nodes: number): number {
  const wanted = memoryPerNode * Math.max(1 / BLOCKS_PER_NODE, nodes / BLOCKS_MAX);
  const bytes = 2 ** Math.floor(Math.log2(wanted));
  return Math.min(BLOCK_BYTES_MAX, Math.max(BLOCK_BYTES_MIN, bytes));
}

/** Refuses what would drive the machine into swapping, or into its OOM killer. */
function checkMemoryLeft(sources: readonly Source[], { bytes: left, of }: MemoryLeft): void {
  const needed = sources.reduce((sum, { data, pages }) => {
    const kept = data.kind === "process" ? KEPT_BYTES[data.keeping] : 0;
    return sum + pages * (PAGE_SIZE + TABLE_BYTES + kept);
  }, 0);
  if (needed <= left) return;
  const wrong = `they need ${size(needed)}, and ${of} has ${size(left)} left`;
  throw new BadInput("sources", wrong, "name fewer at once");
}

/** Pages of a node as --memory-per-node asks for; all nodes together must have room for every source. */
function askedPages(asked: number, nodes: number, total: number, most: number): number {
  const flag = `--memory-per-node ${asked}`;
  const pages = Math.ceil(asked / PAGE_SIZE);
  if (pages > most) {
    const wrong = `an engine of ${nodes} nodes can have ${sizeOfPages(most)} on each`;
    throw new BadInput(flag, wrong, "give less, or leave it out");
  }
  if (pages * nodes >= total) return pages;
  const wrong = `${nodes} nodes of it cannot hold the ${sizeOfPages(total)} of the sources`;
  const least = Math.ceil(total / nodes) * PAGE_SIZE;
  throw new BadInput(flag, wrong, `give at least ${least}, or leave it out`);
}

/** What no engine can hold: so many guests, or pages in all. */
function checkTotals(guests: number, total: number): void {
  if (guests > GUESTS_MAX) {
    const wrong = `they are ${guests} guests, and an engine has ${GUESTS_MAX} at most`;
    throw new BadInput("sources", wrong, "name fewer at once");
  }
  if (total > NUMBER_MAX) {
    const holds = sizeOfPages(NUMBER_MAX);
    const wrong = `they have ${sizeOfPages(total)} in all, and an engine holds ${holds}`;
    throw new BadInput("sources", wrong, "name fewer at once");
  }
}

/** What a node cannot hold, where there are so many: they share the numbers of frames. */
function checkNode(needed: number, most: number): void {
  if (needed <= most) return;
  const limit = sizeOfPages(most);
  const wrong = `they need ${sizeOfPages(needed)} on one node, and it can have ${limit}`;
  throw new BadInput("sources", wrong, "use fewer --nodes");
}
