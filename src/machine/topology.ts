/**
 * topology - the worker threads of an engine: which there are, starting them, and noticing that one died.
 *
 * The only importer of piscina. Each worker runs one task for as long as the engine lives, so a task that
 * ends before the engine closes is a thread that died.
 */
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { Piscina } from "piscina";
import type { Nid, ThreadId } from "../base/units.js";
import type { EngineHandle } from "./handle.js";
import type { MigratorShare } from "./migrator.js";
import type { FromWorker, Role, WorkerTask } from "./worker.js";

interface Actor {
  readonly name: string;
  readonly thread: ThreadId;
  readonly port: MessagePort;
}

export interface Topology {
  readonly ksmd: Actor;
  readonly nodes: readonly Actor[];
  readonly migrators: readonly Actor[];
  /** Resolves when every worker has ended; they have been told to close. */
  stop(): Promise<void>;
}

/** Starts a worker for each node and migrator and one for ksmd. `onDeath` is called for one that ends before stop(). */
export async function startTopology(
  handle: EngineHandle,
  nodes: number,
  migrators: readonly MigratorShare[],
  onDeath: (actor: string, thread: ThreadId | null, cause: Error) => void,
): Promise<Topology> {
  const workers = nodes + migrators.length + 1;
  const pool = new Piscina({
    filename: new URL("./worker.js", import.meta.url).href,
    minThreads: workers,
    maxThreads: workers,
    concurrentTasksPerWorker: 1,
    // Between tasks piscina's workers would sleep on a shared word, deaf to their ports; ours never are between tasks.
    atomics: "disabled",
  });
  let stopping = false;
  const tasks: Promise<void>[] = [];
  const start = (name: string, role: Role): Promise<Actor> => {
    const { port1: port, port2 } = new MessageChannel();
    const task: WorkerTask = { handle, name, role, port: port2 };
    let thread: ThreadId | null = null;
    const running: Promise<void> = pool.run(task, { transferList: [port2] });
    return new Promise((resolve, reject) => {
      const died = (cause: Error): void => {
        reject(cause);
        if (!stopping) onDeath(name, thread, cause);
      };
      port.once("message", (message: FromWorker) => {
        if ("attached" in message) thread = message.attached;
        resolve({ name, thread: thread as ThreadId, port });
      });
      tasks.push(
        running.then(
          () => (stopping ? undefined : died(new Error(`${name} ended`))),
          (error: unknown) => died(error instanceof Error ? error : new Error(String(error))),
        ),
      );
    });
  };
  const stop = async (): Promise<void> => {
    stopping = true;
    await Promise.race([Promise.all(tasks), after(STOP_MS)]);
    await pool.destroy();
  };
  try {
    const [ksmd, ...started] = await Promise.all([
      start("ksmd", { kind: "ksmd", shard: 0 }),
      ...Array.from({ length: nodes }, (_, nid: Nid) => start(`node ${nid}`, { kind: "node" })),
      ...migrators.map((share) => start(`migrator ${share.number}`, { kind: "migrator", share })),
    ]);
    return {
      ksmd: ksmd as Actor,
      nodes: started.slice(0, nodes),
      migrators: started.slice(nodes),
      stop,
    };
  } catch (error) {
    stopping = true;
    await pool.destroy();
    throw error;
  }
}

/** How long a worker may take to hear that the engine closes; one that is busy then is terminated. */
const STOP_MS = 2000;

function after(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}
