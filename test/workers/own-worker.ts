/** own-worker - worker threads that the embedder owns, as the tests start them. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";

/**
 * Starts programs/`name`.mjs. It must end with `process.exit()`: a thread that ends by itself waits for its compiler's
 * jobs, which may wait for a collection by that very thread, and so for ever (nodejs/node#54918).
 */
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

/** Resolves when the worker has ended. */
export async function ended(worker: Worker): Promise<void> {
  if (worker.threadId !== -1) await once(worker, "exit");
}
