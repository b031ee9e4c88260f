/**
 * Live processes as sources: which pages are taken, what happens when they go, and that they are only read.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, it } from "vitest";
import type { Loaded } from "../../dist/cli/programs/load.js";
import type { Verified } from "../../dist/cli/programs/verify.js";
import { withKeeping } from "../../dist/cli/sources/process/keeping.js";
import { ProcessMemory } from "../../dist/cli/sources/process/memory-reader.js";
import { checkPageSize } from "../../dist/cli/sources/process/page-size.js";
import { identify } from "../../dist/cli/sources/process/proc.js";
import { closeMemories, processSource } from "../../dist/cli/sources/process/process-source.js";
import type { PageRanges, ProcessData, Source } from "../../dist/cli/sources/source.js";
import { createEngine } from "../../dist/index.js";
import { documentOf, PAGE, pagefold, start } from "./command.js";

const HOLDER = fileURLToPath(new URL("./holder.py", import.meta.url));
const LOAD = new URL("../../dist/cli/programs/load.js", import.meta.url);
const VERIFY = new URL("../../dist/cli/programs/verify.js", import.meta.url);

const hasPython = spawnSync("python3", ["-c", ""]).status === 0;
const canTest = process.platform === "linux" && hasPython;
/** MADV_GUARD_INSTALL came with Linux 6.13, and its bit in pagemap with 6.14. */
const [major = 0, minor = 0] = fs.existsSync("/proc/version")
  ? (/(\d+)\.(\d+)/.exec(fs.readFileSync("/proc/version", "utf8")) ?? []).slice(1).map(Number)
  : [];
const hasGuards = major > 6 || (major === 6 && minor >= 14);

interface Holder {
  readonly child: ChildProcess;
  readonly pid: number;
  /** Addresses by name; see holder.py. */
  readonly at: Readonly<Record<string, number>>;
  /** Has it do what holder.py can; resolves with its answer. */
  ask(command: string): Promise<string>;
  unmap(name: string, first: number, pages: number): Promise<void>;
}

const children: ChildProcess[] = [];
const looked: Source[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  closeMemories(looked.splice(0));
});

async function hold(pages: number): Promise<Holder> {
  const args = [HOLDER, String(pages), hasGuards ? "guard" : "none"];
  const child = spawn("python3", args, { stdio: ["pipe", "pipe", "inherit"] });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const at = JSON.parse((await lines.next()).value);
  const ask = async (command: string): Promise<string> => {
    child.stdin.write(`${command}\n`);
    return (await lines.next()).value;
  };
  const unmap = async (name: string, first: number, count: number): Promise<void> => {
    expect(await ask(`unmap ${name} ${first} ${count}`)).toBe("done");
  };
  return { child, pid: child.pid as number, at, ask, unmap };
}

/** The pages that holder.py writes: their number in each word of 8 bytes. */
function numbered(page: number): Buffer {
  const bytes = Buffer.alloc(PAGE);
  for (let word = 0; word < PAGE; word += 8) bytes.writeUInt32LE(page, word);
  return bytes;
}

/** Numbers of the listed pages within `count` pages from `start` on. */
function listed({ starts, pages }: PageRanges, start: number, count: number): number[] {
  const found: number[] = [];
  starts.forEach((from, i) => {
    for (let page = 0; page < (pages[i] as number); page++) {
      const number = (from - start) / PAGE + page;
      if (number >= 0 && number < count) found.push(number);
    }
  });
  return found;
}

async function dataOf(
  pid: number,
  keeping: ProcessData["keeping"] = "bytes",
): Promise<ProcessData> {
  const { sources } = await processSource(`pid:${pid}`, new AbortController().signal);
  looked.push(...sources);
  return { ...(sources[0]?.data as ProcessData), keeping };
}

async function privatePages(pid: number): Promise<PageRanges> {
  return (await dataOf(pid)).ranges;
}

/** How often this process has the memory of another open. */
function openMemories(pid: number): number {
  const targets = fs.readdirSync("/proc/self/fd").map((fd) => {
    // That of the directory itself has gone.
    return fs.existsSync(`/proc/self/fd/${fd}`) ? fs.readlinkSync(`/proc/self/fd/${fd}`) : "";
  });
  return targets.filter((target) => target === `/proc/${pid}/mem`).length;
}

/** The part of it from `start` on. */
function within(data: ProcessData, start: number, pages: number): ProcessData {
  return { ...data, ranges: { starts: Float64Array.of(start), pages: Uint32Array.of(pages) } };
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);

describe.skipIf(!canTest)("the pages of a process", () => {
  it("are those that it wrote, and nobody else's", async () => {
    const { pid, at } = await hold(64);
    const ranges = await privatePages(pid);
    expect(listed(ranges, at.data as number, 64)).toEqual(range(0, 64));
    const sparse = range(10, 40).filter((page) => page % 3 === 1);
    expect(listed(ranges, at.sparse as number, 100)).toEqual(sparse);
    expect(listed(ranges, at.shared as number, 4)).toEqual([]);
    expect(listed(ranges, at.copied as number, 6)).toEqual([1]);
    // Pages that were only read are pages of zeros.
    expect(listed(ranges, at.looked as number, 8)).toEqual([1, 2, 5]);
    const all = ranges.pages.reduce((sum, pages) => sum + pages, 0);
    // It has reserved 8 GiB.
    expect(all * PAGE).toBeLessThan(2 ** 28);
    expect([...ranges.starts]).toEqual([...ranges.starts].sort((a, b) => a - b));
  });

  it.skipIf(!hasGuards)("are not those in which a guard was installed", async () => {
    const { pid, at } = await hold(1);
    expect(listed(await privatePages(pid), at.guarded as number, 8)).toEqual([0, 1, 5, 6, 7]);
  });

  it("are read as they are", async () => {
    const { pid, at } = await hold(600);
    const memory = new ProcessMemory(within(await dataOf(pid), at.data as number, 600));
    let page = 0;
    for (const { address, bytes } of memory.chunks()) {
      expect(address).toBe(page * PAGE);
      for (let offset = 0; offset < bytes.length; offset += PAGE) {
        expect(bytes.subarray(offset, offset + PAGE).equals(numbered(++page))).toBe(true);
      }
    }
    expect([page, memory.unreadable]).toEqual([600, 0]);
  });

  it("that have gone are left out and counted", async () => {
    const { pid, at, unmap } = await hold(600);
    const data = within(await dataOf(pid), at.data as number, 600);
    await unmap("data", 0, 3);
    await unmap("data", 300, 40);
    const memory = new ProcessMemory(data);
    const pages: number[] = [];
    for (const { address, bytes } of memory.chunks()) {
      for (let offset = 0; offset < bytes.length; offset += PAGE) {
        pages.push((address + offset) / PAGE);
        expect(bytes.readUInt32LE(offset)).toBe((address + offset) / PAGE + 1);
      }
    }
    expect(pages).toEqual([...range(3, 300), ...range(340, 600)]);
    expect(memory.unreadable).toBe(43);
  });

  it("let others be heard between those that have gone", async () => {
    const { pid, at, unmap } = await hold(5000);
    const memory = new ProcessMemory(within(await dataOf(pid), at.data as number, 5000));
    await unmap("data", 0, 5000);
    const chunks = [...memory.chunks()];
    expect(chunks.map(({ bytes }) => bytes.length)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(memory.unreadable).toBe(5000);
  });

  it("are not looked at any longer when nobody wants them", async () => {
    const { pid } = await hold(1);
    const controller = new AbortController();
    const reason = new Error("interrupted");
    const looking = processSource(`pid:${pid}`, controller.signal);
    setImmediate(() => controller.abort(reason));
    await expect(looking).rejects.toBe(reason);
    expect(openMemories(pid)).toBe(0);
  });

  it("end where the process ends, and the offset is named", async () => {
    const { child, pid, at } = await hold(600);
    const address = at.data as number;
    const memory = new ProcessMemory(within(await dataOf(pid), address, 600)).chunks();
    expect(memory.next().value?.bytes.length).toBe(2 ** 20);
    child.kill("SIGKILL");
    await once(child, "exit");
    const where = `byte ${2 ** 20} of ${600 * PAGE} (address 0x${(address + 2 ** 20).toString(16)})`;
    const mend = "name a process that lives on while it is read";
    const wrong = `ended or started another program at ${where}`;
    expect(() => memory.next()).toThrow(`pid:${pid}: ${wrong}; ${mend}`);
  });

  it("are not those of the program that its process starts next", async () => {
    const { pid, ask } = await hold(600);
    const data = await dataOf(pid);
    expect(await ask("exec")).toBe("done");
    expect(() => new ProcessMemory(data).chunks().next()).toThrow(
      `pid:${pid}: ended or started another program at byte 0 of`,
    );
  });
});

describe.skipIf(!canTest).each(["bytes", "sha256"] as const)("a guest, kept as %s", (keeping) => {
  it("is compared with what was read, not with what the process has now", async () => {
    const { pid, at, unmap } = await hold(300);
    const data = within(await dataOf(pid, keeping), at.data as number, 300);
    await unmap("data", 290, 2);
    const engine = await createEngine({ memoryPerNode: 8 * 2 ** 20 });
    try {
      const guest = engine.createGuest({ bytes: 300 * PAGE });
      const second = engine.createGuest({ bytes: 300 * PAGE });
      for (const each of [guest, second]) {
        expect((await each.run(LOAD, data)) as Loaded).toEqual({ unreadable: 2 });
      }
      await unmap("data", 0, 100);
      await engine.ksm.set({ run: 1 });
      await engine.ksm.scan(3);
      expect(engine.stats().counters.pages_sharing).toBe(298);
      guest.write(299 * PAGE + 17, Uint8Array.of(0xee));
      guest.write(5, Uint8Array.of(0xee));
      const pages = { pages: 298, unreadable: null };
      const found = { ...pages, mismatches: 2, first: [0, 299] };
      expect((await guest.run(VERIFY, data)) as Verified).toEqual(found);
      const none = { ...pages, mismatches: 0, first: [] };
      expect((await second.run(VERIFY, data)) as Verified).toEqual(none);
    } finally {
      await engine.close();
    }
  });
});

describe.skipIf(!canTest)("of processes", () => {
  it("nothing is kept where nothing is verified", async () => {
    const { pid, at } = await hold(3);
    const data = within(await dataOf(pid, "nothing"), at.data as number, 3);
    await using engine = await createEngine({ memoryPerNode: 8 * 2 ** 20 });
    const guest = engine.createGuest({ bytes: 3 * PAGE });
    expect((await guest.run(LOAD, data)) as Loaded).toEqual({ unreadable: 0 });
    expect(guest.read(0, PAGE)).toEqual(new Uint8Array(numbered(1)));
    const found = { pages: 0, mismatches: 0, first: [], unreadable: null };
    expect((await guest.run(VERIFY, data)) as Verified).toEqual(found);
  });

  it("copies are kept up to a GiB in all, and digests of more", async () => {
    const { pid } = await hold(1);
    await dataOf(pid);
    const source = looked[0] as Source;
    const half = { ...source, pages: 2 ** 17 };
    const file = { ...half, data: { kind: "files", files: [] } } as const;
    const keepings = (sources: readonly Source[]): unknown[] =>
      sources.map(({ data }) => (data.kind === "process" ? data.keeping : data.kind));
    const fits = withKeeping([half, file, half], true);
    expect([keepings(fits.sources), fits.notes]).toEqual([["bytes", "files", "bytes"], []]);
    const more = withKeeping([half, file, { ...half, pages: 2 ** 17 + 1 }], true);
    expect([keepings(more.sources), more.notes]).toEqual([
      ["sha256", "files", "sha256"],
      [
        "1.00 GiB of process memory are more than 1.00 GiB: " +
          "a SHA-256 of each page is kept to compare with, not the page",
      ],
    ]);
    const none = withKeeping([half, file, half, half], false);
    expect([keepings(none.sources), none.notes]).toEqual([
      ["nothing", "files", "nothing", "nothing"],
      [],
    ]);
  });
});

describe.skipIf(!canTest)("pagefold run pid:", () => {
  it("tells the name as it is, and that a thread is no process of its own", async () => {
    const { pid, ask } = await hold(10);
    expect(await ask("name sp\u00e4ti")).toBe("done");
    const thread = await ask("thread");
    const { guests, notes } = await documentOf([`pid:${pid}`, `pid:${thread}`, "--no-verify"]);
    expect(guests[0]?.name).toBe(`${pid} sp\u00e4ti`);
    const shared = "all its threads share the memory that was taken";
    expect(notes).toEqual([`pid:${thread} is a thread of process ${pid}: ${shared}`]);
  });

  it("folds processes, twice the same one too, and leaves them alone", async () => {
    const [a, b] = await Promise.all([hold(500), hold(500)]);
    const name = fs.readFileSync(`/proc/${a.pid}/comm`, "utf8").trim();
    const document = await documentOf([`pid:${a.pid}`, `pid:${b.pid}`, `pid:${a.pid}`]);
    const { check, counters, guests, settled, unreadable_pages, verify } = document;
    expect({ check, settled, unreadable_pages }).toEqual({
      ...{ check: "clean", settled: true, unreadable_pages: 0 },
    });
    expect(verify).toEqual({ pages: document.pages, mismatches: 0 });
    expect(guests.map((guest) => [guest.name, guest.source])).toEqual([
      [`${a.pid} ${name}`, `pid:${a.pid}`],
      [`${b.pid} ${name}`, `pid:${b.pid}`],
      [`${a.pid} ${name}#2`, `pid:${a.pid}`],
    ]);
    // The first and the third are the same; of the second, all that holder.py has written is.
    expect(counters.pages_sharing).toBeGreaterThanOrEqual((guests[2]?.pages ?? 0) + 500);
    for (const { child } of [a, b])
      expect([child.exitCode, child.signalCode]).toEqual([null, null]);
  });

  it("says where a process ended half-way", async () => {
    const { child, pid } = await hold(2 ** 17);
    const run = start(["run", "--json", `pid:${pid}`]);
    const bytesRead = (): number => {
      const text = fs.readFileSync(`/proc/${run.child.pid}/io`, "utf8");
      return Number(/^rchar: (\d+)$/m.exec(text)?.[1]);
    };
    while (bytesRead() < 2 ** 26) await new Promise((resolve) => setImmediate(resolve));
    run.child.kill("SIGSTOP");
    child.kill("SIGKILL");
    await once(child, "exit");
    run.child.kill("SIGCONT");
    const { status, stdout, stderr } = await run.ended;
    const wrong = "ended or started another program at byte";
    expect(stderr).toMatch(
      new RegExp(
        `^pagefold: pid:${pid}: ${wrong} [1-9]\\d* of \\d+ \\(address 0x[0-9a-f]+\\); name a .*\n$`,
      ),
    );
    expect([status, stdout]).toEqual([2, ""]);
  });
});

/** A number that no process has: that of one which has just ended. */
function unusedPid(): number {
  return spawnSync("true").pid;
}

async function refused(spec: string, line: string, options = {}): Promise<void> {
  const { status, stdout, stderr } = await pagefold(["run", spec], options);
  expect(stderr).toBe(`pagefold: ${spec}: ${line}\n`);
  expect([status, stdout]).toEqual([2, ""]);
}

describe.skipIf(process.platform !== "linux")("bad input", () => {
  it.each(["pid:", "pid:self", "pid:0", "pid:-1", "pid:4194304", "pid:1e3"])("%s", (spec) =>
    refused(spec, "is not the number of a process; write pid:1234"),
  );

  it("a process that there is not", () =>
    refused(`pid:${unusedPid()}`, "there is no such process; check the number"));

  it.skipIf(!isKernelThread(2))("a kernel thread", () =>
    refused("pid:2", "is a kernel thread and has no memory; name another process"),
  );

  it("a zombie", async () => {
    const child = spawn("sh", ["-c", "sleep 0 & echo $!; exec cat"], { stdio: "pipe" });
    children.push(child);
    const [pid] = await once(child.stdout.setEncoding("utf8"), "data");
    while (identify(Number(pid)).kind !== "zombie") await new Promise(setImmediate);
    await refused(`pid:${Number(pid)}`, "has ended; name a process that runs");
  });

  it.skipIf(!canTest || !["x64", "arm64"].includes(process.arch))(
    "a process whose main thread has ended before others",
    async () => {
      const { pid, ask } = await hold(1);
      const thread = await ask("thread");
      expect(await ask("leave")).toBe("done");
      while (identify(pid).kind !== "zombie") await new Promise(setImmediate);
      const mend = `name another of its threads, such as pid:${thread}`;
      await refused(`pid:${pid}`, `its main thread has ended; ${mend}`);
      await documentOf([`pid:${thread}`]);
    },
  );

  it("pages of another size", () => {
    const auxv = (size: bigint): Buffer => Buffer.from(BigUint64Array.of(3n, 6n, 6n, size).buffer);
    expect(() => checkPageSize("pid:7", auxv(4096n))).not.toThrow();
    const mend = "name a file, such as a core dump of it";
    expect(() => checkPageSize("pid:7", auxv(65536n))).toThrow(
      `pid:7: the pages of this system have 64 KiB, and those of pagefold 4 KiB; ${mend}`,
    );
    expect(() => checkPageSize("pid:7", Buffer.alloc(32))).toThrow(
      `pid:7: this system does not tell how large its pages are; ${mend}`,
    );
  });

  it.skipIf(process.getuid?.() !== 0)("a process of somebody else", () =>
    refused(
      `pid:${process.pid}`,
      "its memory cannot be read (EACCES); run as its owner or as root, where ptrace is allowed",
      { uid: 65534, gid: 65534 },
    ),
  );
});

function isKernelThread(pid: number): boolean {
  try {
    return identify(pid).kind === "kernel thread";
  } catch {
    return false;
  }
}
