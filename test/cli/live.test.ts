/**
 * The run without a source: live processes that pagefold starts, folds and ends, on every path.
 */
import { fork, spawn } from "node:child_process";
import { getEventListeners, once } from "node:events";
import fs from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { Answer } from "../../dist/cli/demo/compiler.js";
import { startWorkforce, WorkforceError } from "../../dist/cli/demo/workforce.js";
import type { RunOptions } from "../../dist/cli/options.js";
import { findSources } from "../../dist/cli/sources/find.js";
import {
  type documentOf,
  expectSums,
  fresh,
  MAIN,
  type Result,
  type Started,
  start,
} from "./command.js";

const COMPILER = fileURLToPath(new URL("../../dist/cli/demo/compiler.js", import.meta.url));

/** A process by what no other has: its number, and when it started. */
interface Process {
  readonly pid: number;
  readonly startTime: string;
}

/** What /proc says of a process, from its state on; null when there is none. */
function statOf(pid: number): string[] | null {
  try {
    const stat = fs.readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}

/** The processes that `parent` has started. */
function childrenOf(parent: number): Process[] {
  const pids = fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return pids.map(Number).flatMap((pid) => {
    const stat = statOf(pid);
    return Number(stat?.[1]) === parent ? [{ pid, startTime: stat?.[19] as string }] : [];
  });
}

function lives({ pid, startTime }: Process): boolean {
  const stat = statOf(pid);
  return stat !== null && stat[19] === startTime && stat[0] !== "Z";
}

/** Whether it is a Node of its own by now: pagefold waits for that, and would wait for one that is stopped. */
function hasBegun({ pid }: Process): boolean {
  try {
    return fs.readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0").includes(COMPILER);
  } catch {
    return false;
  }
}

/** Starts a run without a source; resolves when its processes are there, and on their way. */
async function startLive(args: readonly string[] = []): Promise<Started & { children: Process[] }> {
  const started = start(["run", "--json", ...args]);
  const pid = started.child.pid as number;
  for (;;) {
    const children = childrenOf(pid).filter(hasBegun);
    if (children.length === 4) return { ...started, children };
    if (started.child.exitCode !== null) throw new Error((await started.ended).stderr);
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
    expectFiles(JSON.parse(stdout), "one of them ended by SIGKILL");
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

describe("a process of the workforce", () => {
  it("ends with the channel, though it has work for hours", async () => {
    const child = fork(COMPILER, [], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const library = fileURLToPath(import.meta.resolve("acorn"));
    const paths = new Array(100_000).fill(library);
    await new Promise((resolve) => child.send({ paths }, resolve));
    const exited = once(child, "exit");
    child.disconnect();
    expect(await exited).toEqual([0, null]);
  });

  it("says why it fails", async () => {
    const child = fork(COMPILER, [], { stdio: ["ignore", "ignore", "inherit", "ipc"] });
    const missing = fresh("missing.js");
    const answered = once(child, "message");
    child.send({ paths: [missing] });
    const failed = `ENOENT: no such file or directory, open '${missing}'`;
    expect(await answered).toEqual([{ failed } satisfies Answer, undefined]);
    const exited = once(child, "exit");
    child.disconnect();
    expect(await exited).toEqual([0, null]);
  });
});

describe("a workforce", () => {
  /** What it has others call when this process ends, and when it is interrupted. */
  const listeners = (signal: AbortSignal): number[] => [
    process.listenerCount("exit"),
    getEventListeners(signal, "abort").length,
  ];

  it("that is ready leaves nothing behind when it is stopped", async () => {
    const { signal } = new AbortController();
    const before = listeners(signal);
    const { pids, modules, stop } = await startWorkforce(2, { paths: [COMPILER] }, signal);
    expect([pids.length, modules]).toEqual([2, 1]);
    await stop();
    expect(pids.map(statOf)).toEqual([null, null]);
    expect(listeners(signal)).toEqual(before);
  });

  it("that fails, or is interrupted, leaves nothing behind", async () => {
    const missing = fresh("missing.js");
    const controller = new AbortController();
    const { signal } = controller;
    const before = listeners(signal);
    const failing = startWorkforce(2, { paths: [missing] }, signal);
    await expect(failing).rejects.toThrow(WorkforceError);
    await expect(failing).rejects.toThrow("one of them failed: ENOENT: no such file");
    expect(listeners(signal)).toEqual(before);
    expect(childrenOf(process.pid)).toEqual([]);
    const reason = new Error("interrupted");
    const interrupted = startWorkforce(2, { paths: [COMPILER] }, signal);
    controller.abort(reason);
    await expect(interrupted).rejects.toBe(reason);
    expect(listeners(signal)).toEqual(before);
    expect(childrenOf(process.pid)).toEqual([]);
  });
});

describe.skipIf(process.platform !== "linux")("the sources of a run", () => {
  it("tell what is looked at, and are released", async () => {
    const stages: string[] = [];
    const view = { begin: (stage: string) => stages.push(stage), update() {}, end() {} };
    const asked: Partial<RunOptions> = { sources: [], installation: false, verify: false };
    const { signal } = new AbortController();
    const open = (): number => fs.readdirSync("/proc/self/fd").length;
    const before = open();
    const { sources, notes, release } = await findSources(asked as RunOptions, view, signal);
    const pids = sources.map(({ source }) => Number(source.slice("pid:".length)));
    expect(pids).toHaveLength(4);
    expect(notes).toHaveLength(1);
    const looking = pids.map((pid) => `looking at pid:${pid}`);
    expect(stages).toEqual(["starting four Node processes", ...looking]);
    expect(sources.map(({ data }) => data)).toMatchObject(
      new Array(4).fill({ kind: "process", keeping: "nothing" }),
    );
    await release();
    expect(pids.map(statOf)).toEqual([null, null, null, null]);
    expect(open()).toBe(before);
  });
});
