/**
 * vcpu-worker - a thread of the embedder with a vCPU of the measured guest: it fills, writes and reads
 * back, and in between it keeps reading, so that ksmd has a vCPU to shoot down.
 */
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine, type EngineHandle } from "../dist/index.js";
import { DIRTY_BYTE, DIRTY_STEP, dirtyWord, PAGE } from "./mix.js";

export interface VcpuTask {
  readonly handle: EngineHandle;
  readonly guest: number;
  readonly source: SharedArrayBuffer;
}

export type VcpuCall =
  | { readonly kind: "fill" }
  | { readonly kind: "dirty"; readonly salt: number }
  /** Reads every byte back; afterwards the vCPU stays where it is, for the audit. */
  | { readonly kind: "verify" }
  | { readonly kind: "close" };

/** Pages that are not as they were written; sections that the vCPU has been through in between. */
export interface VcpuAnswer {
  readonly mismatches: number;
  readonly sections: number;
}

/** Pages read in one section. */
const VISITED = 256;
/** Pages read back at a time. */
const CHUNK = 256;

const { handle, guest, source } = workerData as VcpuTask;
const pages = source.byteLength / PAGE;
const bytes = new Uint8Array(source);
const engine = await attachEngine(handle);
const vcpu = engine.guest(guest).vcpu();
/** By page: the word that was stored in it last, plus one. */
const stored = new Int32Array(pages);
let mismatches = 0;
let sections = 0;
let next = 0;

function visit(): void {
  sections++;
  vcpu.run((inside) => {
    for (let i = 0; i < VISITED; i++) {
      next = (next + 1) % pages;
      inside.load32(next * PAGE);
    }
  });
}

const visiting = setInterval(visit, 1);

/** From here on the vCPU holds translations, so that the first harvest has some to shoot down. */
function fill(): void {
  vcpu.write(0, bytes);
  visit();
}

function dirty(salt: number): void {
  vcpu.run((inside) => {
    for (let page = salt; page < pages; page += DIRTY_STEP) {
      inside.store32(page * PAGE + DIRTY_BYTE, dirtyWord(page, salt));
      stored[page] = dirtyWord(page, salt) + 1;
    }
  });
}

function verify(): void {
  const expected = new Uint8Array(CHUNK * PAGE);
  const words = new Int32Array(expected.buffer);
  const found = new Uint8Array(CHUNK * PAGE);
  for (let first = 0; first < pages; first += CHUNK) {
    const count = Math.min(CHUNK, pages - first);
    expected.set(bytes.subarray(first * PAGE, (first + count) * PAGE));
    for (let i = 0; i < count; i++) {
      const word = stored[first + i] as number;
      if (word > 0) words[(i * PAGE + DIRTY_BYTE) / 4] = word - 1;
    }
    vcpu.read(first * PAGE, found.subarray(0, count * PAGE));
    for (let at = 0; at < count * PAGE; at += PAGE) {
      const same = Buffer.compare(found.subarray(at, at + PAGE), expected.subarray(at, at + PAGE));
      if (same !== 0) mismatches++;
    }
  }
}

parentPort?.on("message", (call: VcpuCall) => {
  if (call.kind === "fill") fill();
  else if (call.kind === "dirty") dirty(call.salt);
  else clearInterval(visiting);
  if (call.kind === "verify") verify();
  if (call.kind === "close") {
    engine.close();
    parentPort?.close();
    return;
  }
  parentPort?.postMessage({ mismatches, sections } satisfies VcpuAnswer);
});
