/**
 * proc - who a process is, as /proc says.
 */
import { readdirSync, readFileSync } from "node:fs";

interface Identity {
  readonly name: string;
  readonly kind: "process" | "kernel thread" | "zombie";
}

const ZOMBIES = new Set(["Z", "X", "x"]);
/** The kernel's PF_KTHREAD. */
const KERNEL_THREAD = 0x00200000;

/** Throws what reading /proc/PID/stat throws. */
export function identify(pid: number): Identity {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name stands in brackets and may hold any character, brackets too.
  const name = stat.slice(stat.indexOf("(") + 1, stat.lastIndexOf(")"));
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state = "", flags = "0"] = [fields[0], fields[6]];
  const isKernelThread = (Number(flags) & KERNEL_THREAD) !== 0;
  const kind = isKernelThread ? "kernel thread" : ZOMBIES.has(state) ? "zombie" : "process";
  return { name, kind };
}

/** Whether it is there, and no zombie. */
export function lives(pid: number): boolean {
  try {
    return identify(pid).kind !== "zombie";
  } catch {
    return false;
  }
}

/** The process that a thread belongs to; a process is the thread that began it. */
export function processOf(thread: number): number {
  const status = readFileSync(`/proc/${thread}/status`, "utf8");
  return Number(/^Tgid:\s*(\d+)$/m.exec(status)?.[1] ?? thread);
}

/** A thread of a process that runs though its first one has ended; null where there is none. */
export function livingThread(pid: number): number | null {
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number).find(lives) ?? null;
  } catch {
    return null;
  }
}
