/** Fills an engine, merges half of it away, compacts, and tells what the system says of this process. */
import { createEngine, PAGE_SIZE } from "../../../dist/index.js";

const MIB = 2 ** 20;
const PAGES = (192 * MIB) / PAGE_SIZE;
const engine = await createEngine({
  ...{ memoryPerNode: 192 * MIB, blockBytes: 8 * MIB, migrators: 1, collectGarbage: true },
  seed: 1,
});
const guest = engine.createGuest({ bytes: PAGES * PAGE_SIZE });
const vcpu = guest.vcpu();
const page = new Int32Array(PAGE_SIZE / 4);
const content = (gfn) => (gfn % 2 === 0 ? gfn + 16 : 1);
for (let gfn = 0; gfn < PAGES; gfn++) {
  vcpu.write(gfn * PAGE_SIZE, new Uint8Array(page.fill(content(gfn)).buffer));
}
await engine.ksm.set({ run: 1, maxPageSharing: 2 ** 20, sleepMillisecs: 0, pagesToScan: 2 ** 20 });
await engine.settled();
await engine.ksm.set({ run: 0 });
globalThis.gc();
const before = process.memoryUsage.rss();
const { bytes } = await engine.compact();
const after = process.memoryUsage.rss();
let wrong = 0;
for (let gfn = 0; gfn < PAGES; gfn++) {
  if (vcpu.load32(gfn * PAGE_SIZE + 4092) !== content(gfn)) wrong++;
}
const { problems } = await engine.check();
await engine.close();
process.stdout.write(
  JSON.stringify({ before, after, released: bytes, wrong: wrong + problems.length }),
);
