/** machine - what the figures were measured on. */
import { execFileSync } from "node:child_process";
import * as os from "node:os";

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly system: string;
  readonly node: string;
  readonly v8: string;
  /** The commit measured, with "+" where files differ from it; null: git does not say. */
  readonly commit: string | null;
  /** Runnable threads on average over the minute before. */
  readonly load: number;
}

export function describeMachine(root: string): Machine {
  return {
    cpu: os.cpus()[0]?.model.trim() ?? "unknown processor",
    cores: os.availableParallelism(),
    memoryBytes: os.totalmem(),
    system: `${os.type()} ${os.release()}`,
    node: process.version,
    v8: process.versions.v8,
    commit: commitOf(root),
    load: os.loadavg()[0] as number,
  };
}

function commitOf(root: string): string | null {
  const git = (...args: string[]): string =>
    execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
  try {
    const commit = git("rev-parse", "--short", "HEAD").trim();
    return git("status", "--porcelain").trim() === "" ? commit : `${commit}+`;
  } catch {
    return null;
  }
}

/** Bytes that may still be allocated, here and in this process' cgroup. */
export function availableMemory(): number {
  return Math.min(os.freemem(), process.availableMemory?.() ?? Number.POSITIVE_INFINITY);
}
