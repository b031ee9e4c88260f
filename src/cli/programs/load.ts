/**
 * load - the guest program that fills a guest with its source.
 *
 * It only copies bytes: no hash, no compare, no zero test. Every page becomes present, zero pages too.
 */
import { setImmediate } from "node:timers/promises";
import type { GuestProgram } from "../../index.js";
import { readChunks } from "../reader.js";
import type { SourceData } from "../source.js";

const load: GuestProgram = async (vcpu, { args }) => {
  for (const { address, bytes } of readChunks(args as SourceData)) {
    vcpu.write(address, bytes);
    // The node hears that the engine closes.
    await setImmediate();
  }
};

export default load;
