/**
 * worker - the entry of every worker thread of an engine: one long task, a node, ksmd or a migrator.
 */
import type { MessagePort } from "node:worker_threads";
import type { Memory } from "../base/memory.js";
import type { ThreadId } from "../base/units.js";
import { createShard } from "../ksm/shard.js";
import { toWire, type WireError } from "./commands.js";
import { attachHandle, type EngineHandle } from "./handle.js";
import { runKsmd } from "./ksmd.js";
import { type MigratorShare, runMigrator } from "./migrator.js";
import { runProgram } from "./program.js";
import { prepareWarmUp } from "./warm-up.js";

export type Role =
  | { readonly kind: "ksmd"; readonly shard: number }
  | { readonly kind: "node" }
  | { readonly kind: "migrator"; readonly share: MigratorShare };

export interface WorkerTask {
  readonly handle: EngineHandle;
  /** What messages call the worker. */
  readonly name: string;
  readonly role: Role;
  readonly port: MessagePort;
}

export type ToNode =
  | {
      readonly id: number;
      readonly guest: number;
      readonly program: string;
      readonly args: unknown;
    }
  | { readonly id: number; readonly cancel: number }
  | { readonly close: true };

export type FromWorker =
  | { readonly attached: ThreadId }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: WireError };

/** Runs the role until it is told to close. */
export default async function runWorker({ handle, name, role, port }: WorkerTask): Promise<void> {
  const memory = await attachHandle(handle, name);
  port.postMessage({ attached: memory.thread } satisfies FromWorker);
  if (role.kind === "ksmd") {
    const warmUp = await prepareWarmUp(handle);
    // ksmd never returns to its event loop, and what led here would stay on its stack: the message with the blocks.
    await new Promise((resolve) => setImmediate(resolve));
    runKsmd(createShard(memory, role.shard), port, warmUp);
    port.close();
    return;
  }
  if (role.kind === "migrator") await runMigrator(memory, port, role.share);
  else await runNode(memory, port);
}

/** Runs guest programs as they are asked for. */
function runNode(memory: Memory, port: MessagePort): Promise<void> {
  const running = new Map<number, AbortController>();
  return new Promise((resolve) => {
    port.on("message", (message: ToNode) => {
      if ("close" in message) {
        for (const controller of running.values()) controller.abort();
        port.close();
        resolve();
      } else if ("cancel" in message) {
        running.get(message.cancel)?.abort();
      } else {
        const { id, guest, program, args } = message;
        const controller = new AbortController();
        running.set(id, controller);
        runProgram(memory, guest, program, args, controller.signal)
          .then(
            (value) => reply(port, { id, value }),
            (error: unknown) => reply(port, { id, error: toWire(error) }),
          )
          .finally(() => running.delete(id));
      }
    });
  });
}

function reply(port: MessagePort, message: FromWorker): void {
  try {
    port.postMessage(message);
  } catch (error) {
    // What the program returned cannot be cloned: the caller is told so instead.
    if ("id" in message) port.postMessage({ id: message.id, error: toWire(error) });
  }
}
