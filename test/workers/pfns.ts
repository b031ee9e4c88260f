/** pfns - the frames that a guest's pages lie in, for tests that name them. */
import { ptePfn } from "../../dist/base/layout.js";
import type { Engine, EngineGuest } from "../../dist/index.js";
import { attachHandle } from "../../dist/machine/handle.js";
import { guestBase, guestPages } from "../../dist/mm/guest.js";
import { readPte } from "../../dist/mm/pte.js";

/** By page. The guest must not be changing, and all of its pages be present. */
export async function pfnsOf(engine: Engine, guest: EngineGuest): Promise<number[]> {
  const [pfns] = await pfnsOfAll(engine, [guest]);
  return pfns as number[];
}

/** The same of several guests, in their order. */
export async function pfnsOfAll(
  engine: Engine,
  guests: readonly EngineGuest[],
): Promise<number[][]> {
  const memory = await attachHandle(engine.handle);
  return guests.map((guest) => {
    const base = guestBase(memory, guest.id);
    const pages = guestPages(memory, guest.id);
    return Array.from({ length: pages }, (_, gfn) => ptePfn(readPte(memory, base + gfn)));
  });
}
