/**
 * The run without a source: live processes that pagefold starts, folds and ends, on every path.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { identify } from "../../dist/cli/sources/process/proc.js";
import {
  type documentOf,
  expectSums,
  fresh,
  MAIN,
  type Result,
  type Started,
  start,
} from "./command.js";

/** A process by what no other has. */
interface Process {
  readonly pid: number;
  readonly startTime: string;
}

/** The processes that `parent` has started. */
function childrenOf(parent: number): Process[] {
  return fs.readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const stat = fs.readFileSync(`/proc/${name}/stat`, "latin1");
      const ppid = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
      if (ppid !== parent) return [];
      return [{ pid: Number(name), startTime: identify(Number(name)).startTime }];
    } catch {
      return [];
    }
  });
}

function lives({ pid, startTime }: Process): boolean {
  try {
    const identity = identify(pid);
    return identity.startTime === startTime && identity.kind !== "zombie";
  } catch {
    return false;
  }
}

/** Starts a run without a source; resolves when its processes are there, and on their way. */
async function startLive(args: readonly string[] = []): Promise<Started & { children: Process[] }> {
  const started = start(["run", "--json", ...args]);
  const pid = started.child.pid as number;
  for (;;) {
    const children = childrenOf(pid);
    if (children.length === 4) return { ...started, children };
    await sleep(5);
  }
}

/** Resolves when none of them lives any more; the test's limit is how long that may take. */
async function allGone(children: readonly Process[]): Promise<void> {
  while (children.some(lives)) await sleep(5);
}

function stopAll(children: readonly Process[]): void {
  for (const { pid } of children) process.kill(pid, "SIGSTOP");
}

function expectLive({ status, stdout, stderr }: Result): void {
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const document = JSON.parse(stdout);
  expectSums(document);
  expect(document.notes).toEqual([
    expect.stringMatching(
      new RegExp(
        "^no source was named: 4 Node processes were started, and each has parsed and " +
          String.raw`compacted the same \d+ modules \(\d\.\d MiB\)$`,
      ),
    ),
  ]);
  expect(document).toMatchObject({ settled: true, interrupted: false, check: "clean" });
  const pages = document.pages;
  expect(document.verify).toEqual({ pages, mismatches: 0 });
  expect(document.guests).toHaveLength(4);
  for (const { name, source } of document.guests) expect(name).toBe(`${source.slice(4)} node`);
  // What each has kept is the same in all: their code and tokens alone are some 10 MiB.
  expect(document.saved_bytes - document.saved_zero_bytes).toBeGreaterThan(20 * 2 ** 20);
}

function expectFiles(document: Awaited<ReturnType<typeof documentOf>>, reason: string): void {
  expect(document.notes[0]).toBe(
    "no source was named, and the memory of processes started for it cannot be had here " +
      `(${reason}): the files of this installation were folded instead`,
  );
  expect(document.guests.at(-1)?.name).toBe("other packages");
  expect(document).toMatchObject({ settled: true, check: "clean", verify: { mismatches: 0 } });
}

describe.skipIf(process.platform !== "linux")("pagefold run", () => {
  it("folds live processes, and they are gone at the end", async () => {
    const { children, ended } = await startLive();
    expectLive(await ended);
    expect(children.filter(lives)).toEqual([]);
  });

  it("folds files when a process does not get ready", async () => {
    const { children, ended } = await startLive();
    stopAll(children);
    process.kill(children[0]?.pid as number, "SIGKILL");
    const { status, stdout, stderr } = await ended;
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expectFiles(JSON.parse(stdout), "it ended by SIGKILL");
    expect(children.filter(lives)).toEqual([]);
  });

  it.skipIf(process.getuid?.() !== 0)(
    "folds files where the memory of processes may not be read",
    async () => {
      // Whoever runs a program that he may not read, may not read its memory either.
      const node = fresh("node");
      fs.copyFileSync(process.execPath, node);
      fs.chmodSync(node, 0o711);
      for (let at = dirname(node); at.includes("pagefold-cli-"); at = dirname(at)) {
        fs.chmodSync(at, 0o711);
      }
      const child = spawn(node, [MAIN, "run", "--json"], { uid: 65534, gid: 65534 });
      let stdout = "";
      child.stdout.setEncoding("utf8").on("data", (text) => {
        stdout += text;
      });
      const status = await new Promise((resolve) => child.on("close", resolve));
      expect(status).toBe(0);
      const document = JSON.parse(stdout);
      const pid = /pid:\d+/.exec(document.notes[0])?.[0];
      const mend = "run as its owner or as root, where ptrace is allowed";
      expectFiles(document, `${pid}: its memory cannot be read (EACCES); ${mend}`);
    },
  );

  it("leaves no process behind when it is killed", async () => {
    const { child, children, ended } = await startLive();
    child.kill("SIGKILL");
    expect(await ended).toMatchObject({ signal: "SIGKILL" });
    await allGone(children);
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("ended by %s before they are ready, says so", async (signal, status) => {
    const { child, children, ended } = await startLive();
    stopAll(children);
    child.kill(signal);
    expect(await ended).toEqual({
      ...{ status, signal: null, stdout: "" },
      stderr: "pagefold: interrupted before anything was known\n",
    });
    expect(children.filter(lives)).toEqual([]);
  });

  it("leaves none behind at the second signal", async () => {
    const { child, children, ended } = await startLive();
    stopAll(children);
    child.kill("SIGSTOP");
    child.kill("SIGINT");
    child.kill("SIGTERM");
    child.kill("SIGCONT");
    expect([130, 143]).toContain((await ended).status);
    await allGone(children);
  });
});
