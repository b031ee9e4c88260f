/**
 * A worker that its embedder owns: pins pages and writes through the pins, as a device writes to memory that it was
 * given (seed 004): a first half when it pins, the rest when others have been pinned meanwhile, and then it unpins.
 * What a vCPU reads afterwards must be what the device wrote, whatever ksmd and migrators did with the page.
 */
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine } from "../../../dist/index.js";
import { bytesOf, cellsOf, PAGE } from "./cells.mjs";

const { handle, guest: id, pages, enough } = workerData;
/** Pins that are held at a time. */
const HELD = 24;
/** From one page to the next. */
const STRIDE = 7;

const engine = await attachEngine(handle);
const guest = engine.guest(id);
const vcpu = guest.vcpu();
const cells = cellsOf(0, 1, pages, 0);
const versions = new Uint32Array(pages).fill(2);
const held = [];
let pinned = 0;

/** Not of a page that is held: half of it is still to come. */
function verify(at) {
  if (held.some((each) => each.at === at)) return;
  const found = vcpu.read(at * PAGE, PAGE);
  if (Buffer.compare(found, bytesOf(id, cells[at], versions[at])) === 0) return;
  throw new Error(`guest ${id} gfn ${at}: not version ${versions[at]}`);
}

/** The next version: by turns bytes that no other page has, and bytes that many have. */
function begin(at) {
  verify(at);
  versions[at]++;
  const pin = guest.pin(at * PAGE, PAGE);
  const bytes = bytesOf(id, cells[at], versions[at]);
  pin.pages[0].bytes.set(bytes.subarray(0, PAGE / 2));
  held.push({ at, pin, bytes });
}

function finish() {
  const { at, pin, bytes } = held.shift();
  pin.pages[0].bytes.set(bytes.subarray(PAGE / 2), PAGE / 2);
  pin.release();
  verify(at);
  pinned++;
}

/** Pins are held while ksmd does this many passes, and everything else is left alone. */
function pause(passes) {
  const until = engine.stats().counters.full_scans + passes;
  for (let at = 0; engine.stats().counters.full_scans < until; at = (at + 1) % pages) verify(at);
}

function isEnough() {
  if (pinned < 2 * pages) return false;
  const { counters, migrations } = engine.stats();
  const reached = [counters.pages_merged, counters.cow_ksm, migrations.failed.pinned];
  return migrations.succeeded >= 10 * enough && reached.every((count) => count >= enough);
}

for (let at = 0; at < pages; at++) vcpu.write(at * PAGE, bytesOf(id, cells[at], versions[at]));
for (let at = 0; !isEnough(); at = (at + STRIDE) % pages) {
  begin(at);
  if (at < STRIDE) pause(3);
  while (held.length >= HELD) finish();
}
while (held.length > 0) finish();
vcpu.close();
engine.close();
parentPort.postMessage({ versions, pinned });
process.exit();
