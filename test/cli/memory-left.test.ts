/**
 * How much memory is left, as the files of Linux tell it.
 */
import fs from "node:fs";
import os from "node:os";
import { dirname, join } from "node:path";
import { expect, it } from "vitest";
import { memoryLeft } from "../../dist/cli/memory-left.js";
import { fresh } from "./command.js";

const MIB = 2 ** 20;
const MEMINFO =
  "MemTotal:       16384000 kB\nMemFree:         1000 kB\nMemAvailable:    8192000 kB\n";
const SYSTEM = { bytes: 8_192_000 * 1024, of: "the system" };

/** A root with these files below it. */
function rootOf(files: Readonly<Record<string, string | number>>): string {
  const root = fresh("root");
  for (const [path, text] of Object.entries({ "proc/meminfo": MEMINFO, ...files })) {
    fs.mkdirSync(dirname(join(root, path)), { recursive: true });
    fs.writeFileSync(join(root, path), `${text}\n`);
  }
  return root;
}

it("is what the system has available", () => {
  expect(memoryLeft(rootOf({}))).toEqual(SYSTEM);
});

it("is what a control group has, its file pages included", () => {
  const root = rootOf({
    "proc/self/cgroup": "0::/user/app",
    "sys/fs/cgroup/user/app/memory.max": 500 * MIB,
    "sys/fs/cgroup/user/app/memory.current": 200 * MIB,
    "sys/fs/cgroup/user/app/memory.stat": `anon 5\nfile ${50 * MIB}\ninactive_file ${30 * MIB}\nactive_file ${10 * MIB}`,
  });
  expect(memoryLeft(root)).toEqual({ bytes: 340 * MIB, of: "its cgroup" });
});

it("is the least on the way up", () => {
  const root = rootOf({
    "proc/self/cgroup": "0::/user/app",
    "sys/fs/cgroup/user/app/memory.max": "max",
    "sys/fs/cgroup/user/app/memory.current": 200 * MIB,
    "sys/fs/cgroup/user/memory.max": 300 * MIB,
    "sys/fs/cgroup/user/memory.current": 299 * MIB,
  });
  expect(memoryLeft(root)).toEqual({ bytes: MIB, of: "its cgroup" });
});

it("is never less than nothing", () => {
  const root = rootOf({
    "proc/self/cgroup": "0::/",
    "sys/fs/cgroup/memory.max": MIB,
    "sys/fs/cgroup/memory.current": 2 * MIB,
  });
  expect(memoryLeft(root)).toEqual({ bytes: 0, of: "its cgroup" });
});

it("knows the first version of control groups, seen from within", () => {
  const root = rootOf({
    "proc/self/cgroup": "9:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": 100 * MIB,
    "sys/fs/cgroup/memory/memory.usage_in_bytes": 90 * MIB,
    "sys/fs/cgroup/memory/memory.stat": `inactive_file 1\ntotal_inactive_file ${5 * MIB}`,
  });
  expect(memoryLeft(root)).toEqual({ bytes: 15 * MIB, of: "its cgroup" });
  const free = rootOf({
    "proc/self/cgroup": "4:memory:/",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": 90 * MIB,
  });
  expect(memoryLeft(free)).toEqual(SYSTEM);
});

it("is what Node knows elsewhere", () => {
  const { bytes, of } = memoryLeft(join(fresh("nothing"), "here"));
  expect(of).toBe("the system");
  expect(bytes).toBeGreaterThan(0);
  expect(bytes).toBeLessThanOrEqual(os.totalmem());
});
