/**
 * main - a snapshot of each of 41 generations of a WebAssembly instance: what they cost, what changed from
 * one to the next, going back to one of them, and deleting. Run it: node main.mjs
 */
import { PAGE_SIZE } from "pagefold";
import { createLife, plant } from "./life.mjs";
import { SnapshotStore } from "./store.mjs";

const GENERATIONS = 40;
const nameOf = (generation) => `generation ${generation}`;

const store = await SnapshotStore.open({ memoryBytes: 8 * 2 ** 20 });
try {
  const life = createLife();
  plant(life);
  const kept = [await keep(0, life.memory)];
  for (let generation = 1; generation <= GENERATIONS; generation++) {
    life.step();
    kept.push(await keep(generation, life.memory));
  }
  show(kept);

  const same = kept.every((bytes, i) => Buffer.compare(bytes, store.get(nameOf(i))) === 0);
  console.log(`get      ${same ? "every snapshot is what was put" : "WRONG BYTES"}`);

  const changed = store
    .diff(nameOf(39), nameOf(40))
    .map(({ address, length }) => `${hex(address)} to ${hex(address + length - 1)}`);
  console.log(`diff     from 39 to 40: ${changed.join(", ")}`);

  const again = createLife();
  store.restore(nameOf(20), again.memory);
  for (let generation = 20; generation < GENERATIONS; generation++) again.step();
  await store.put("again", again.memory);
  const differences = store.diff(nameOf(40), "again").length;
  console.log(`restore  generation 20, and 20 steps: ${differences} differences from 40`);

  await store.delete("again");
  for (let odd = 1; odd <= GENERATIONS; odd += 2) await store.delete(nameOf(odd));
  console.log("delete   every other generation");
  show(kept.filter((_, generation) => generation % 2 === 0));
} finally {
  await store.close();
}

/** Puts a snapshot, and returns a copy that is none of the store's business. */
async function keep(generation, memory) {
  const bytes = new Uint8Array(memory.buffer).slice();
  await store.put(nameOf(generation), memory);
  return bytes;
}

/** What the store holds, beside what it ought to cost: the distinct pages of `memories` that are not zeros. */
function show(memories) {
  const pages = memories.flatMap((bytes) =>
    Array.from({ length: bytes.length / PAGE_SIZE }, (_, page) =>
      Buffer.from(bytes.buffer, page * PAGE_SIZE, PAGE_SIZE).toString("latin1"),
    ),
  );
  const distinct = new Set(pages);
  distinct.delete("\0".repeat(PAGE_SIZE));
  const { snapshots, snapshotBytes, frameBytes } = store.stats();
  console.log(
    `stats    ${snapshots} snapshots of ${kib(snapshotBytes)} in ${kib(frameBytes)}: ` +
      `${frameBytes / PAGE_SIZE} frames for ${distinct.size} distinct pages`,
  );
}

function kib(bytes) {
  return `${(bytes / 1024).toLocaleString("en-US")} KiB`;
}

function hex(address) {
  return `0x${address.toString(16).padStart(5, "0")}`;
}
