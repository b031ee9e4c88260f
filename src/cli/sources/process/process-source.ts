/**
 * process-source - `pid:1234`: the private anonymous pages of a live process as a source.
 */
import { closeSync } from "node:fs";
import { PAGE_SIZE } from "../../../base/units.js";
import { BadInput } from "../../bad-input.js";
import type { PageRanges, Resolved, Source } from "../source.js";
import { isSystemError } from "../system-error.js";
import { GONE, hasGone, NO_PAGE, openMemory, readMemory } from "./memory.js";
import { checkPageSize } from "./page-size.js";
import { privatePages } from "./private-pages.js";
import { identify, livingThread, processOf } from "./proc.js";
import { hasEnded, NAME_A_FILE, refusal } from "./refusal.js";

export const PID_PREFIX = "pid:";

/** Linux gives smaller numbers than this. */
const PID_LIMIT = 2 ** 22;
/** Ranges of which a page is read to see whether memory can be read at all: some may just have gone. */
const PROBES = 16;

/** Looks at the process, and opens its memory: closeMemories. Throws BadInput, and when `signal` is aborted. */
export async function processSource(spec: string, signal: AbortSignal): Promise<Resolved> {
  const pid = parsePid(spec);
  const memory = memoryOf(spec, pid);
  try {
    const name = nameOf(spec, pid);
    checkPageSize(spec);
    const ranges = await privatePages(pid, signal);
    checkReadable(spec, memory, ranges);
    const pages = ranges.pages.reduce((sum, each) => sum + each, 0);
    const source: Source = {
      name: `${pid} ${name}`,
      source: spec,
      data: { kind: "process", spec, memory, ranges, keeping: "bytes" },
      bytes: pages * PAGE_SIZE,
      paddedBytes: 0,
      pages,
    };
    return { sources: [source], notes: threadNotes(spec, pid) };
  } catch (error) {
    closeSync(memory);
    signal.throwIfAborted();
    throw refusal(spec, pid, error);
  }
}

/** Closes what was opened for those that are processes. */
export function closeMemories(sources: readonly Source[]): void {
  for (const { data } of sources) {
    if (data.kind === "process") closeSync(data.memory);
  }
}

function parsePid(spec: string): number {
  const text = spec.slice(PID_PREFIX.length);
  const pid = Number(text);
  if (!/^\d+$/.test(text) || pid < 1 || pid >= PID_LIMIT) {
    throw new BadInput(spec, "is not the number of a process", "write pid:1234");
  }
  if (process.platform !== "linux") {
    const wrong = "the memory of processes can be read on Linux only";
    throw new BadInput(spec, wrong, NAME_A_FILE);
  }
  return pid;
}

/** Opened before anything is looked at, so that all of it is of one program. */
function memoryOf(spec: string, pid: number): number {
  try {
    return openMemory(pid);
  } catch (error) {
    nameOf(spec, pid);
    throw refusal(spec, pid, error);
  }
}

/** Throws BadInput where it is no process that has memory. */
function nameOf(spec: string, pid: number): string {
  const { name, kind } = identityOf(spec, pid);
  if (kind === "kernel thread") {
    throw new BadInput(spec, "is a kernel thread and has no memory", "name another process");
  }
  if (kind === "zombie") {
    const thread = livingThread(pid);
    if (thread === null) throw hasEnded(spec);
    const mend = `name another of its threads, such as ${PID_PREFIX}${thread}`;
    throw new BadInput(spec, "its main thread has ended", mend);
  }
  return name;
}

function identityOf(spec: string, pid: number): ReturnType<typeof identify> {
  try {
    return identify(pid);
  } catch (error) {
    if (isSystemError(error) && ["ENOENT", "ESRCH"].includes(error.code ?? "")) {
      throw new BadInput(spec, "there is no such process", "check the number");
    }
    throw refusal(spec, pid, error);
  }
}

/** Some systems let the memory be opened, and not be read. */
function checkReadable(spec: string, memory: number, { starts }: PageRanges): void {
  if (hasGone(memory)) {
    const wrong = "has ended or started another program";
    throw new BadInput(spec, wrong, "name a process that lives on while it is read");
  }
  if (starts.length === 0) throw new BadInput(spec, "has no private page", "name another process");
  const page = Buffer.alloc(PAGE_SIZE);
  const isReadable = starts.subarray(0, PROBES).some((address) => {
    const got = readMemory(memory, page, address);
    return got !== NO_PAGE && got !== GONE;
  });
  if (!isReadable) throw new BadInput(spec, "its memory cannot be read (EIO)", NAME_A_FILE);
}

function threadNotes(spec: string, pid: number): string[] {
  const group = processOf(pid);
  if (group === pid) return [];
  const shared = "all its threads share the memory that was taken";
  return [`${spec} is a thread of process ${group}: ${shared}`];
}
