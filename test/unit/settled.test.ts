/**
 * What settled finds unmerged: nothing where ksmd has done its work, and each page that waits beside equal ones, or
 * beside a frame with room.
 */
import { describe, expect, it } from "vitest";
import { createEngine } from "../../src/index.js";
import { unsettledContents } from "../../src/machine/settled.js";
import { PAGE } from "./view.js";

const PASSES = 3;

/** Pages of two guests on two nodes with these first bytes, guest by guest; merged or not. */
async function problemsOf(
  guests: readonly (readonly number[])[],
  knobs: { maxPageSharing?: number; mergeAcrossNodes?: 0 | 1 },
  passes = 0,
): Promise<string[]> {
  await using engine = await createEngine({
    ...{ workers: false, nodes: 2, memoryPerNode: 2 ** 20, ksm: { run: 1, ...knobs } },
  });
  for (const [node, bytes] of guests.entries()) {
    const guest = engine.createGuest({ bytes: bytes.length * PAGE, node });
    for (const [gfn, byte] of bytes.entries()) guest.fill(gfn * PAGE, PAGE, byte);
  }
  if (passes > 0) await engine.ksm.scan(passes);
  return unsettledContents(engine.memory, engine.ksm.knobs);
}

describe("what is not merged", () => {
  it("is nothing where no pages are equal, or ksmd has merged those that are", async () => {
    expect(await problemsOf([[1, 2], [3]], {})).toEqual([]);
    expect(await problemsOf([[1, 1, 2], [2]], {}, PASSES)).toEqual([]);
  });

  it("is equal pages that nobody has merged", async () => {
    expect(await problemsOf([[1, 2, 2], [2]], {})).toEqual([
      "guest 0 page 1 is not merged, beside 2 equal pages and 0 frames with room",
    ]);
  });

  it("is no page that is alone on its node, or beside full frames", async () => {
    expect(await problemsOf([[1], [1]], { mergeAcrossNodes: 0 })).toEqual([]);
    const limit = { maxPageSharing: 2 };
    expect(await problemsOf([[1, 1, 1], [2]], limit, PASSES)).toEqual([]);
  });

  it("is a page beside a frame with room", async () => {
    await using engine = await createEngine({ workers: false, memoryPerNode: 2 ** 20 });
    const guest = engine.createGuest({ bytes: 3 * PAGE });
    guest.fill(0, 2 * PAGE, 1);
    await engine.ksm.set({ run: 1 });
    await engine.ksm.scan(PASSES);
    guest.fill(2 * PAGE, PAGE, 1);
    expect(unsettledContents(engine.memory, engine.ksm.knobs)).toEqual([
      "guest 0 page 2 is not merged, beside 0 equal pages and 1 frames with room",
    ]);
  });
});
