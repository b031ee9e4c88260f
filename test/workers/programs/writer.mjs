/**
 * A worker that its embedder owns: joins the engine and writes its cells of a guest while ksmd merges, until
 * there were enough merges and enough copies of merged pages. What it reads must be what it wrote last.
 */
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine } from "../../../dist/index.js";
import { baseOf, bytesOf, cellsOf, PAGE, stampOf } from "./cells.mjs";

const { handle, guest: id, thread, threads, pages, shared, enough } = workerData;
const BATCHES = 8;
/** Passes after which what was left alone has been merged. */
const PASSES = 3;

const engine = await attachEngine(handle);
const guest = engine.guest(id);
const vcpu = guest.vcpu();
const cells = cellsOf(thread, threads, pages, shared);
const versions = new Uint32Array(cells.length);
let verified = 0;

function verify(at) {
  const cell = cells[at];
  const found = vcpu.read(cell.gfn * PAGE + cell.from, cell.length);
  const expected = bytesOf(id, cell, versions[at]);
  if (Buffer.compare(found, expected) !== 0) {
    throw new Error(`guest ${id} gfn ${cell.gfn} from ${cell.from}: not version ${versions[at]}`);
  }
  verified++;
}

function writeBase(at) {
  const cell = cells[at];
  vcpu.write(cell.gfn * PAGE + cell.from, baseOf(cell));
  versions[at] += versions[at] % 2 === 0 ? 2 : 1;
}

function writeStamp(at) {
  const cell = cells[at];
  versions[at] += 1;
  const { at: offset, words } = stampOf(id, cell, versions[at]);
  const address = cell.gfn * PAGE + cell.from + offset;
  words.forEach((word, i) => {
    vcpu.store32(address + 4 * i, word);
  });
}

/** Merged or not by now: read, stamped, read; then written as it was, for ksmd to merge again. */
function turn(batch) {
  for (let at = batch.from; at < batch.to; at++) {
    verify(at);
    writeStamp(at);
    verify(at);
  }
  for (let at = batch.from; at < batch.to; at++) {
    verify(at);
    writeBase(at);
  }
}

const batches = Array.from({ length: BATCHES }, (_, batch) => ({
  from: Math.floor((cells.length * batch) / BATCHES),
  to: Math.floor((cells.length * (batch + 1)) / BATCHES),
  since: -PASSES,
}));
for (let at = 0; at < cells.length; at++) writeBase(at);

let turns = 0;
for (let next = 0; ; next = (next + 1) % BATCHES) {
  const { counters } = engine.stats();
  if (counters.cow_ksm >= enough && counters.pages_merged >= enough) break;
  const batch = batches[next];
  if (counters.full_scans >= batch.since + PASSES) {
    // In a section accesses are plain loads and stores; outside each enters guest mode by itself.
    if (turns % 2 === 0) vcpu.run(() => turn(batch));
    else turn(batch);
    batch.since = engine.stats().counters.full_scans;
    turns++;
  } else {
    verify(batch.from + (turns % (batch.to - batch.from)));
  }
}
vcpu.close();
engine.close();
parentPort.postMessage({ versions, verified, turns });
process.exit();
