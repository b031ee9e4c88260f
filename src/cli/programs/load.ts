/**
 * load - the guest program that fills a guest with its source.
 *
 * It only copies bytes: no hash, no compare, no zero test. Every page that can be read becomes present, zero
 * pages too.
 */
import { setImmediate } from "node:timers/promises";
import type { GuestProgram, Vcpu } from "../../index.js";
import type { Chunk } from "../sources/chunk.js";
import { keep } from "../sources/process/kept.js";
import { ProcessMemory } from "../sources/process/memory-reader.js";
import { readChunks } from "../sources/reader.js";
import type { SourceData } from "../sources/source.js";

/** What loading a guest came to. */
export interface Loaded {
  /** Pages of a process that had gone; the guest has none there. */
  readonly unreadable: number;
}

const load: GuestProgram = async (vcpu, { guest, args }): Promise<Loaded> => {
  const data = args as SourceData;
  if (data.kind !== "process") {
    await writeAll(vcpu, readChunks(data));
    return { unreadable: 0 };
  }
  const memory = new ProcessMemory(data);
  await writeAll(vcpu, memory.chunks(), (chunk) => keep(guest, chunk, data.keeping));
  return { unreadable: memory.unreadable };
};

export default load;

async function writeAll(
  vcpu: Vcpu,
  chunks: Iterable<Chunk>,
  before: (chunk: Chunk) => void = () => {},
): Promise<void> {
  for (const chunk of chunks) {
    if (chunk.bytes.length > 0) {
      before(chunk);
      vcpu.write(chunk.address, chunk.bytes);
    }
    // The node hears that the engine closes.
    await setImmediate();
  }
}
