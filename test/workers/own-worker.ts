/** own-worker - worker threads that the embedder owns, as the tests start them. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";

/** Starts programs/`name`.mjs. */
export function startWorker(name: string, workerData: unknown): Worker {
  return new Worker(new URL(`./programs/${name}.mjs`, import.meta.url), { workerData });
}

/** The next message; rejects with the worker's error, or when it ends without one. */
export function nextMessage<T>(worker: Worker): Promise<T> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => reject(new Error(`the worker ended with ${code}`)));
  });
}

/** Resolves when the worker has ended by itself. */
export async function ended(worker: Worker): Promise<void> {
  if (worker.threadId !== -1) await once(worker, "exit");
}
