/**
 * memory-left - how much memory the system, and the control groups this process is in, have left.
 */
import { readFileSync } from "node:fs";
import { freemem } from "node:os";
import { dirname, join } from "node:path";

export interface MemoryLeft {
  readonly bytes: number;
  /** Who has no more than that. */
  readonly of: "the system" | "its cgroup";
}

/** `root` is where proc and sys are mounted. */
export function memoryLeft(root = "/"): MemoryLeft {
  const system = systemLeft(root);
  const group = Math.min(...controllers(root).map((folder) => groupsLeft(root, folder)));
  return group < system
    ? { bytes: Math.max(0, group), of: "its cgroup" }
    : { bytes: system, of: "the system" };
}

function systemLeft(root: string): number {
  const kilobytes = /^MemAvailable: +(\d+) kB$/m.exec(textOf(join(root, "proc/meminfo")))?.[1];
  return kilobytes === undefined ? freemem() : Number(kilobytes) * 1024;
}

interface Controller {
  readonly mount: string;
  /** The group, below the mount. */
  readonly path: string;
  readonly limit: string;
  readonly usage: string;
  /** Lines of memory.stat that tell of file pages, which the kernel takes back first. */
  readonly cache: RegExp;
}

/** The group of cgroup 2, and that of cgroup 1 where memory is controlled there. */
function controllers(root: string): Controller[] {
  const groups = textOf(join(root, "proc/self/cgroup")).matchAll(/^\d+:([^:]*):(.*)$/gm);
  return [...groups].flatMap(([, names = "", path = "/"]): Controller[] => {
    if (names === "") {
      const cache = /^(?:in)?active_file (\d+)$/gm;
      const mount = "sys/fs/cgroup";
      return [{ mount, path, limit: "memory.max", usage: "memory.current", cache }];
    }
    if (!names.split(",").includes("memory")) return [];
    const cache = /^total_(?:in)?active_file (\d+)$/gm;
    const [limit, usage] = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
    return [{ mount: "sys/fs/cgroup/memory", path, limit, usage, cache }];
  });
}

/** The least that a group on the way up to the root has left; Infinity without a limit. */
function groupsLeft(root: string, { mount, path, limit, usage, cache }: Controller): number {
  let left = Number.POSITIVE_INFINITY;
  for (let at = join("/", path); ; at = dirname(at)) {
    const folder = join(root, mount, at);
    const max = numberOf(join(folder, limit));
    const used = numberOf(join(folder, usage));
    if (max !== null && used !== null) {
      const files = [...textOf(join(folder, "memory.stat")).matchAll(cache)];
      const reclaimable = files.reduce((sum, [, bytes]) => sum + Number(bytes), 0);
      left = Math.min(left, max - used + reclaimable);
    }
    if (at === "/") return left;
  }
}

/** null where there is no such file, or no number in it: "max" is no limit. */
function numberOf(path: string): number | null {
  const text = textOf(path).trim();
  return /^\d+$/.test(text) ? Number(text) : null;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
