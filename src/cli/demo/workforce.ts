/**
 * workforce - the Node processes that the default run starts to have live memory to fold.
 *
 * They are gone whenever this process is: stopped at the end of a run, killed when it exits early, and by
 * themselves when it dies without a word, for the channel to it closes then.
 */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Answer, Assignment } from "./compiler.js";

const COMPILER = fileURLToPath(new URL("./compiler.js", import.meta.url));

interface Workforce {
  readonly pids: readonly number[];
  /** Modules that each of them has compiled. */
  readonly modules: number;
  /** Ends them; resolves when they have gone. */
  stop(): Promise<void>;
}

/** A process did not do its work; what the operating system refuses is thrown as it is. */
export class WorkforceError extends Error {}

/** Starts `count` processes on the same files; resolves when all are ready. Rejects when `signal` is aborted. */
export async function startWorkforce(
  count: number,
  assignment: Assignment,
  signal: AbortSignal,
): Promise<Workforce> {
  signal.throwIfAborted();
  const children: ChildProcess[] = [];
  const kill = (): void => {
    for (const child of children) child.kill("SIGKILL");
  };
  process.once("exit", kill);
  const stop = async (): Promise<void> => {
    await Promise.all(children.map(stopChild));
    process.off("exit", kill);
  };
  try {
    // Starting one may throw; those before it are stopped then.
    for (let i = 0; i < count; i++) children.push(startChild());
    const modules = await assignAll(children, assignment, signal);
    const pids = children.map(({ pid }) => pid as number);
    return { pids, modules: modules[0] ?? 0, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function startChild(): ChildProcess {
  // No arguments of this Node's own: a debugger's port, for instance, can be had once only.
  const execArgv = ["--expose-gc"];
  return fork(COMPILER, [], { execArgv, stdio: ["ignore", "ignore", "ignore", "ipc"] });
}

/** Resolves with the modules of each. Rejects as soon as one fails, or `signal` is aborted. */
function assignAll(
  children: readonly ChildProcess[],
  assignment: Assignment,
  signal: AbortSignal,
): Promise<number[]> {
  return new Promise((resolve, reject) => {
    const interrupted = (): void => reject(signal.reason);
    signal.addEventListener("abort", interrupted);
    Promise.all(children.map((child) => assign(child, assignment)))
      .then(resolve, reject)
      .finally(() => signal.removeEventListener("abort", interrupted));
  });
}

/** Resolves with the number of modules when the results are in its memory. */
function assign(child: ChildProcess, assignment: Assignment): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("message", (answer) => {
      const told = answer as Answer;
      if ("modules" in told) resolve(told.modules);
      else reject(new WorkforceError(`one of them failed: ${told.failed}`));
    });
    child.once("error", reject);
    child.once("exit", (code, by) => {
      reject(new WorkforceError(`one of them ended by ${by ?? `status ${code}`}`));
    });
    // That a message cannot be sent is told by the events above too.
    child.send(assignment, () => {});
  });
}

async function stopChild(child: ChildProcess): Promise<void> {
  const hasEnded = child.exitCode !== null || child.signalCode !== null;
  if (child.pid === undefined || hasEnded) return;
  const exited = once(child, "exit");
  child.kill("SIGKILL");
  await exited;
}
