/** A worker that its embedder owns: joins, does one thing with each vCPU it is asked for, and leaves. */
import { parentPort, workerData } from "node:worker_threads";
import { attachEngine } from "../../../dist/index.js";

const { handle, guest, byte } = workerData;
try {
  const engine = await attachEngine(handle);
  const target = engine.guest(guest);
  const before = target.read(0, 4);
  target.fill(0, target.bytes, byte);
  const { counters, frames } = engine.stats();
  engine.close();
  engine.close();
  parentPort.postMessage({ thread: engine.thread, bytes: target.bytes, before, counters, frames });
} catch (error) {
  const { code, message, details } = error;
  parentPort.postMessage({ error: { code, message, details } });
}
process.exit();
