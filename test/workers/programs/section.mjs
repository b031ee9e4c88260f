/**
 * A worker that its embedder owns, inside a section of its vCPU for as long as it is not told to leave.
 * Takes commands from `flag` (private to the test): it does step after step, and says so.
 *
 *   hold    touches neither guest memory nor poll(): it reaches no safepoint
 *   poll    calls poll() over and over
 *   write   writes word `at` over and over
 */
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine } from "../../../dist/index.js";

const { handle, guest, flag, steps, at } = workerData;
const engine = await attachEngine(handle);
const vcpu = engine.guest(guest).vcpu();

let value = 1;
const does = {
  hold: () => {},
  poll: () => vcpu.poll(),
  write: () => vcpu.store32(at, value++),
};

vcpu.run(() => {
  steps.forEach((step, number) => {
    does[step]();
    // Delivered although this thread does not return to its event loop.
    parentPort.postMessage({ step, vcpu: vcpu.id, thread: engine.thread });
    while (Atomics.load(flag, 0) <= number) does[step]();
  });
});
const last = value - 1;
const found = vcpu.load32(at);
vcpu.close();
engine.close();
parentPort.postMessage({ step: "left", last, found });
process.exit();
