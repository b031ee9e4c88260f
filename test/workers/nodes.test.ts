/**
 * Merging on each node in real threads: pages are written while migrators move their frames between the nodes and
 * ksmd merges them. Once all is quiet, equal pages of a node share frames as far as the limit lets them, and no
 * page is merged with one of another node.
 */
import { expect, it } from "vitest";
import { PTE_MERGED, ptePfn } from "../../dist/base/layout.js";
import { nodeOf } from "../../dist/base/memory.js";
import { createEngine, type Engine, type EngineGuest, PAGE_SIZE } from "../../dist/index.js";
import { attachHandle } from "../../dist/machine/handle.js";
import { guestBase } from "../../dist/mm/guest.js";
import { readPte } from "../../dist/mm/pte.js";

const GUESTS = 8;
const PAGES = 64;
const VALUES = 24;
const ROUNDS = 60;

/** xorshift32: a number below `n`. */
function random(seed: number): (n: number) => number {
  let state = seed;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

/** Writes pages of few contents, while every guest is moved from node to node; what the pages hold then. */
async function churn(engine: Engine, guests: readonly EngineGuest[]): Promise<number[][]> {
  const below = random(4711);
  const contents = guests.map(() => new Array<number>(PAGES).fill(0));
  let moved = 0;
  let writing = true;
  const move = async (first: number): Promise<void> => {
    for (let turn = first; writing; turn++) {
      const guest = guests[turn % GUESTS] as EngineGuest;
      const { succeeded } = await engine.migrate({ guest, to: (turn >>> 3) % 2 });
      moved += succeeded;
    }
  };
  const write = async (): Promise<void> => {
    for (let round = 0; round < ROUNDS || moved < 10 * GUESTS * PAGES; round++) {
      for (let count = 0; count < 40; count++) {
        const guest = below(GUESTS);
        const page = below(PAGES);
        const value = below(VALUES);
        const bytes = new Uint8Array(Int32Array.of(value).buffer);
        guests[guest]?.write(page * PAGE_SIZE + 8, bytes);
        (contents[guest] as number[])[page] = value;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    writing = false;
  };
  await Promise.all([move(0), move(4), write()]);
  return contents;
}

it.each([2, 256])("settles on each node, at max_page_sharing %i", async (maxPageSharing) => {
  const engine = await createEngine({
    ...{ nodes: 2, migrators: 2, memoryPerNode: 4 * 2 ** 20 },
    ksm: { run: 1, sleepMillisecs: 0, pagesToScan: 50, mergeAcrossNodes: 0, maxPageSharing },
  });
  const guests = Array.from({ length: GUESTS }, () =>
    engine.createGuest({ bytes: PAGES * PAGE_SIZE }),
  );
  for (const guest of guests) guest.fill(0, guest.bytes, 0);
  const contents = await churn(engine, guests);
  await engine.settled();
  expect((await engine.check()).problems).toEqual([]);
  const memory = await attachHandle(engine.handle);
  const waiting = new Map<string, number>();
  const frames = new Map<string, Map<number, number>>();
  for (const guest of guests) {
    for (const [page, value] of (contents[guest.id] as number[]).entries()) {
      expect(guest.read(page * PAGE_SIZE + 8, 1)[0]).toBe(value);
      const pte = readPte(memory, guestBase(memory, guest.id) + page);
      const key = `${value} on node ${nodeOf(memory, ptePfn(pte))}`;
      const sharers = frames.get(key) ?? new Map<number, number>();
      frames.set(key, sharers);
      if ((pte & PTE_MERGED) === 0) waiting.set(key, (waiting.get(key) ?? 0) + 1);
      else sharers.set(ptePfn(pte), (sharers.get(ptePfn(pte)) ?? 0) + 1);
    }
  }
  for (const [key, sharers] of frames) {
    const single = waiting.get(key) ?? 0;
    expect(single, `pages that wait: ${key}`).toBeLessThanOrEqual(1);
    const room = [...sharers.values()].some((each) => each < maxPageSharing);
    expect(single === 1 && room, `waits beside room: ${key}`).toBe(false);
  }
  const chains = [...frames.values()].filter(({ size }) => size > 1).length;
  expect(engine.stats().counters.stable_node_chains).toBe(chains);
  await engine.close();
});
