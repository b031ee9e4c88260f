/**
 * process-source - `pid:1234`: the private anonymous pages of a live process as a source.
 */
import { closeSync, openSync } from "node:fs";
import { PAGE_SIZE } from "../../../base/units.js";
import { BadInput, reasonOf } from "../../bad-input.js";
import type { PageRanges, Source } from "../source.js";
import { type Identity, identify, privatePages } from "./proc.js";

export const PID_PREFIX = "pid:";

/** Looks at the process, reads none of its memory yet. Throws BadInput. */
export function processSource(spec: string): Source {
  const pid = parsePid(spec);
  const { name, startTime } = identifyProcess(spec, pid);
  const ranges = readablePages(spec, pid);
  const pages = ranges.pages.reduce((sum, each) => sum + each, 0);
  if (pages === 0) throw new BadInput(spec, "has no private page", "name another process");
  return {
    name: `${pid} ${name}`,
    source: spec,
    data: { kind: "process", spec, pid, startTime, ranges, keeping: "bytes" },
    bytes: pages * PAGE_SIZE,
    paddedBytes: 0,
    pages,
  };
}

function parsePid(spec: string): number {
  const text = spec.slice(PID_PREFIX.length);
  const pid = Number(text);
  // 2^22 is the largest number that Linux gives.
  if (!/^\d+$/.test(text) || pid < 1 || pid > 2 ** 22) {
    throw new BadInput(spec, "is not the number of a process", "write pid:1234");
  }
  if (process.platform !== "linux") {
    const wrong = "the memory of processes can be read on Linux only";
    throw new BadInput(spec, wrong, "name a file, such as a core dump of it");
  }
  return pid;
}

function identifyProcess(spec: string, pid: number): Identity {
  const identity = lookUp(spec, pid);
  if (identity.kind === "kernel thread") {
    throw new BadInput(spec, "is a kernel thread and has no memory", "name another process");
  }
  if (identity.kind === "zombie") {
    throw new BadInput(spec, "has ended", "name a process that runs");
  }
  return identity;
}

function lookUp(spec: string, pid: number): Identity {
  try {
    return identify(pid);
  } catch (error) {
    throw gone(error)
      ? new BadInput(spec, "there is no such process", "check the number")
      : notPermitted(spec, error);
  }
}

function readablePages(spec: string, pid: number): PageRanges {
  try {
    const ranges = privatePages(pid);
    closeSync(openSync(`/proc/${pid}/mem`, "r"));
    return ranges;
  } catch (error) {
    if (gone(error)) throw new BadInput(spec, "has ended", "name a process that runs");
    throw notPermitted(spec, error);
  }
}

function notPermitted(spec: string, error: unknown): BadInput {
  const mend = "run as its owner or as root, where ptrace is allowed";
  return new BadInput(spec, `its memory cannot be read (${reasonOf(error)})`, mend);
}

function gone(error: unknown): boolean {
  return ["ENOENT", "ESRCH"].includes(reasonOf(error));
}
