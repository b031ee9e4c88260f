/** A worker that joins an engine and dies inside a section, and a program that runs until it is aborted. */
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine } from "../../../dist/index.js";

if (workerData?.die === true) {
  const engine = await attachEngine(workerData.handle);
  const vcpu = engine.guest(workerData.guest).vcpu();
  parentPort.postMessage(engine.thread);
  vcpu.run(() => {
    vcpu.store8(0, 7);
    process.exit(0);
  });
}

export default async function program(vcpu, { args, signal }) {
  if (!args.untilAborted) return;
  vcpu.store8(0, 1);
  await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  vcpu.store8(1, 2);
}
