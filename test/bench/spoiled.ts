/**
 * spoiled - rigs in which something goes wrong unseen, for rig.test.ts (which bundles and starts it): prints
 * the problems found in each as JSON.
 */

import { withMemory } from "../../bench/frames.js";
import { createPages, MIXES, PAGE } from "../../bench/mix.js";
import { type Rig, withRig } from "../../bench/rig.js";
import { allocFrame } from "../../dist/mm/frames.js";

const PAGES = 64;

async function problemsAfter(spoil: (rig: Rig) => void | Promise<void>) {
  const source = createPages(MIXES[0], PAGES);
  const options = { memoryPerNode: 2 * source.byteLength };
  const { problems } = await withRig(source, options, async (rig) => spoil(rig));
  return problems;
}

const found = {
  nothing: await problemsAfter(({ dirty }) => dirty(1)),
  bytes: await problemsAfter(({ guest }) => guest.fill(5 * PAGE + 7, 1, 0)),
  frames: await problemsAfter(({ engine }) =>
    withMemory(engine.handle, (memory) => {
      allocFrame(memory, 0, 0, 0);
    }),
  ),
};
process.stdout.write(JSON.stringify(found));
