/**
 * spoiler - preloaded into a command, it adds one to a byte of each frame ten times a second: what a stress must find.
 */
import { isMainThread } from "node:worker_threads";

export const SPOILED_BYTE = 41;
const PAGE = 4096;
const INTERVAL_MS = 100;

const memories = [];
const { Memory } = WebAssembly;

class Watched extends Memory {
  constructor(descriptor) {
    super(descriptor);
    if (descriptor.shared) memories.push(this);
  }
}

function spoil() {
  // The first is the tables; of the others the second half is frames and nothing else.
  for (const { buffer } of memories.slice(1)) {
    const bytes = new Uint8Array(buffer);
    for (let at = bytes.length / 2; at < bytes.length; at += PAGE) bytes[at + SPOILED_BYTE]++;
  }
}

if (isMainThread && process.argv[2] === "stress") {
  WebAssembly.Memory = Watched;
  setInterval(spoil, INTERVAL_MS).unref();
}
