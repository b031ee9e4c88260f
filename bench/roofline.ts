/** roofline - how fast WebAssembly can read the frames of an engine, and do nothing else. */
import { frameByte, type Memory } from "../dist/base/memory.js";
import { PAGE } from "./mix.js";

interface Exports {
  readBytes(from: number, bytes: number): number;
}

/** A reader of runs of frames by roofline.as, compiled: the result depends on every byte. */
export function createReader(
  memory: Memory,
  code: Uint8Array,
): (first: number, frames: number) => number {
  const module = new WebAssembly.Module(code);
  const readers = memory.blocks.map((block) => {
    if (block === null) throw new Error("the roofline is read from blocks that are all there");
    const instance = new WebAssembly.Instance(module, { env: { memory: block.memory } });
    return instance.exports as unknown as Exports;
  });
  const shift = memory.sizes.framesPerBlockShift;
  return (first, frames) =>
    (readers[first >>> shift] as Exports).readBytes(frameByte(memory, first), frames * PAGE);
}
