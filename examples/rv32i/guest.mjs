/**
 * guest - the guest program: runs the RISC-V program in its guest until it exits, traps, or waits for input.
 *
 * All guests of a node share its thread. So it runs in slices: a section of some milliseconds, then the
 * others have their turn.
 */
import { setImmediate } from "node:timers/promises";
import { Cpu } from "./cpu.mjs";
import { System } from "./system.mjs";

/** Instructions between two turns of others. */
const SLICE = 100_000;

/** `args`: `cpu`, the state to start from; `input` and `inputEnds`, what it reads. */
export default async function run(vcpu, { bytes, args, signal }) {
  const cpu = new Cpu(vcpu, bytes, args.cpu);
  const system = new System(vcpu, bytes, args);
  let stop = null;
  while (stop === null) {
    const trap = vcpu.run(() => cpu.run(SLICE));
    if (trap?.cause === "environment-call") stop = system.call(cpu);
    else if (trap !== null) stop = { reason: "trap", trap };
    await setImmediate();
    signal.throwIfAborted();
  }
  return { ...stop, output: system.output, cpu: cpu.state, retired: cpu.retired };
}
