/**
 * script - four guests hold the same image: what ksmd saves, what a write costs, who shares how much.
 * Run it: node script.mjs
 */
import { readFileSync } from "node:fs";
import { createEngine, PAGE_SIZE } from "pagefold";

// Something real to fold: the beginning of the Node.js that runs this.
const image = readFileSync(process.execPath).subarray(0, 4 * 2 ** 20);

const engine = await createEngine({
  nodes: 2,
  memoryPerNode: 16 * 2 ** 20,
  ksm: { run: 1 },
});
try {
  const guests = ["red", "green", "blue", "grey"].map((name) => {
    const guest = engine.createGuest({ name, bytes: image.length });
    guest.write(0, image);
    return guest;
  });
  show("loaded");

  // Two passes: ksmd sees each page in the first and merges it in the second.
  await engine.ksm.scan(2);
  show("folded");

  // The first write to a merged page copies it, so that no other guest sees what is written.
  const [red, green] = guests;
  red.write(100, Buffer.from("red was here"));
  const same = Buffer.compare(green.read(0, PAGE_SIZE), image.subarray(0, PAGE_SIZE)) === 0;
  console.log(`red reads "${Buffer.from(red.read(100, 12))}", green the image: ${same}`);
  // ksmd takes notice in its next pass.
  await engine.ksm.scan();
  show("written");

  const report = await engine.report();
  const rows = report.guests.map(({ guest, pages, pages_sharing, saved_bytes }) => {
    return { guest: guests[guest].name, pages, pages_sharing, saved_bytes };
  });
  console.table(rows);

  const { clean } = await engine.check();
  console.log(`check: ${clean ? "clean" : "NOT clean"}`);
} finally {
  // Owed: the engine's workers keep the process alive.
  await engine.close();
}

function show(when) {
  const { counters, frames } = engine.stats();
  const { pages_sharing, cow_ksm } = counters;
  console.log(`${when}: ${frames.used} frames, ${pages_sharing} saved, ${cow_ksm} copied`);
}
