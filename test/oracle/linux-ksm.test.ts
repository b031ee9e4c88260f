/**
 * The bridge to the kernel's KSM: against a directory of plain files that keeps the kernel's rules (any
 * machine), and against the kernel itself (root on Linux with PAGEFOLD_KERNEL_KSM=1 or CI=true).
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { buildSync } from "esbuild";
import { afterAll, describe, expect, it } from "vitest";
import {
  allowed,
  type LinuxKsm,
  linuxKsmUnavailable,
  placeOf,
  withLinuxKsm,
} from "../../bench/peers/linux-ksm.js";
import { lockFile, type Place, stateFile } from "../../bench/peers/linux-ksm-knobs.js";
import { readText } from "../../bench/peers/linux-ksm-lock.js";
import { ContentCounts, closedForm, countFiles, countPages } from "./closed-form.js";
import type { UserTask } from "./linux-ksm-user.js";

const root = fs.mkdtempSync(join(tmpdir(), "pagefold-oracle-"));
afterAll(() => fs.rmSync(root, { recursive: true }));
let made = 0;

/** What a kernel in ordinary use shows: the advisor is on, and nothing has its default. */
const KNOBS: Record<string, string> = {
  run: "2",
  pages_to_scan: "500",
  sleep_millisecs: "33",
  merge_across_nodes: "0",
  max_page_sharing: "64",
  use_zero_pages: "1",
  smart_scan: "1",
  advisor_mode: "none [scan-time]",
  stable_node_chains_prune_millisecs: "1500",
};

interface Fake {
  readonly place: Place;
  readonly writes: string[];
  set(name: string, value: string): void;
  get(name: string): string;
  knobs(): Record<string, string>;
  exists(): { lock: boolean; state: boolean };
}

/** A machine of plain files that refuses what the kernel refuses. */
function fake(over: Partial<Place> = {}): Fake {
  const dir = join(root, `fake${made++}`);
  const sysfs = join(dir, "ksm");
  for (const sub of ["ksm", "ksmd", "state", "proc/sys/kernel/random", `proc/${process.pid}`]) {
    fs.mkdirSync(join(dir, sub), { recursive: true });
  }
  fs.writeFileSync(join(dir, "proc/sys/kernel/random/boot_id"), "this-boot\n");
  fs.writeFileSync(join(dir, "ksmd/stat"), statLine(37, "S", "27"));
  fs.writeFileSync(join(dir, `proc/${process.pid}/stat`), statLine(process.pid, "R", "1000"));
  const get = (name: string) => readText(join(sysfs, name)) ?? "";
  const set = (name: string, value: string) => fs.writeFileSync(join(sysfs, name), `${value}\n`);
  for (const [name, value] of Object.entries({ ...KNOBS, pages_shared: "0" })) set(name, value);
  const writes: string[] = [];
  const trace = (name: string, value: string) => {
    writes.push(`${name}=${value}`);
    if (name === "pages_to_scan" && !/^$|^none$|\[none\]/.test(get("advisor_mode"))) fail("EINVAL");
    const shared = get("pages_shared") !== "0" && get(name) !== value;
    if (shared && ["max_page_sharing", "merge_across_nodes"].includes(name)) fail("EBUSY");
    if (name === "run" && value === "2" && get("run") !== "2") set("pages_shared", "0");
  };
  const place = placeOf({
    ...{ sysfs, proc: join(dir, "proc"), ksmd: join(dir, "ksmd"), stateDir: join(dir, "state") },
    ...{ env: { CI: "true" }, platform: "linux", uid: 0, python: "true", trace },
    ...over,
  });
  const knobs = () =>
    Object.fromEntries(Object.keys(KNOBS).map((name) => [name, shown(get(name))]));
  const exists = () => ({
    lock: fs.existsSync(lockFile(place)),
    state: fs.existsSync(stateFile(place)),
  });
  return { place, writes, set, get, knobs, exists };
}

const OLD = Object.fromEntries(Object.entries(KNOBS).map(([name, value]) => [name, shown(value)]));
const NO_FILES = { lock: false, state: false };

function shown(value: string): string {
  return /\[(.+)\]/.exec(value)?.[1] ?? value;
}

function fail(code: string): never {
  throw Object.assign(new Error(`${code}: said by the fake kernel`), { code });
}

function statLine(pid: number, state: string, start: string): string {
  return `${pid} (some (odd) name) ${state} 2 ${"0 ".repeat(17)}${start} 0 0\n`;
}

function putLock(p: Place, owner: object): void {
  const full = { pid: 4242, start: "77", boot: "this-boot", nonce: `n${made++}`, ...owner };
  fs.writeFileSync(lockFile(p), JSON.stringify(full));
}

function addProcess(p: Place, pid: number, state: string, start: string): void {
  fs.mkdirSync(join(p.proc, `${pid}`));
  fs.writeFileSync(join(p.proc, `${pid}`, "stat"), statLine(pid, state, start));
}

async function refusal(p: Partial<Place>, lockSeconds = 0): Promise<string | null> {
  return (await withLinuxKsm(() => {}, { place: p, lockSeconds })).refused;
}

describe("refusals", () => {
  const cases: [string, Partial<Place>, RegExp][] = [
    ["another system", { platform: "darwin" }, /^kernel KSM needs Linux, this is darwin$/],
    ["no permission in the environment", { env: {} }, /set PAGEFOLD_KERNEL_KSM=1/],
    ["CI that is not true", { env: { CI: "false" } }, /set PAGEFOLD_KERNEL_KSM=1/],
    ["not root", { uid: 1000 }, /^kernel KSM needs root$/],
    ["a kernel without KSM", { sysfs: join(root, "none") }, /^this kernel has no KSM/],
    ["no ksmd", { ksmd: null }, /^ksmd is not visible/],
    ["no python3", { python: "no-such-python" }, /needs python3.* as no-such-python$/],
  ];
  it.each(cases)("%s", async (_name, over, sentence) => {
    const { place, writes, exists } = fake(over);
    expect(linuxKsmUnavailable(place)).toMatch(sentence);
    expect(await refusal(place)).toMatch(sentence);
    expect(writes).toEqual([]);
    expect(exists()).toEqual(NO_FILES);
  });

  it.each([
    ["run", "1", "kernel KSM is in use: run is 1"],
    ["pages_shared", "7", "kernel KSM is in use: pages_shared is 7"],
  ])("KSM in use: %s is %s", async (name, value, sentence) => {
    const { place, set, writes, exists } = fake();
    set(name, value);
    expect(linuxKsmUnavailable(place)).toBe(sentence);
    expect(await refusal(place)).toBe(sentence);
    expect(writes).toEqual([]);
    expect(exists()).toEqual(NO_FILES);
  });

  it("mergeable memory of another process", async () => {
    const { place } = fake();
    addProcess(place, 99, "S", "5");
    fs.writeFileSync(join(place.proc, "99/ksm_stat"), "ksm_merge_any: no\nksm_mergeable: yes\n");
    expect(linuxKsmUnavailable(place)).toMatch(/process 99 has mergeable memory/);
    expect(await refusal(place)).toMatch(/process 99 has mergeable memory/);
  });

  it.each([lockFile, stateFile])("a file that is not of this module (%o)", async (file) => {
    const { place, writes } = fake();
    fs.writeFileSync(file(place), "hello");
    expect(linuxKsmUnavailable(place)).toMatch(/is not a file of this module: remove it$/);
    expect(await refusal(place)).toMatch(/is not a file of this module/);
    expect(writes).toEqual([]);
  });
});

describe("the lock", () => {
  it("of a live process refuses, and does not count as unavailable", async () => {
    const { place, writes } = fake();
    addProcess(place, 4242, "S", "77");
    putLock(place, {});
    expect(await refusal(place)).toMatch(/^kernel KSM is taken: process 4242 holds /);
    expect(linuxKsmUnavailable(place)).toBeNull();
    expect(writes).toEqual([]);
    expect(fs.existsSync(lockFile(place))).toBe(true);
  });

  it.each([
    ["whose process is gone", {}, null],
    ["whose pid runs again", { start: "76" }, "S"],
    ["of an earlier boot", { boot: "an-earlier-boot" }, "S"],
    ["of a zombie", {}, "Z"],
  ])("%s is taken over", async (_name, owner, state) => {
    const { place, exists } = fake();
    if (state !== null) addProcess(place, 4242, state, "77");
    putLock(place, owner);
    expect(await refusal(place)).toBeNull();
    expect(exists()).toEqual(NO_FILES);
    expect(fs.readdirSync(place.stateDir)).toEqual([]);
  });

  it("is waited for", async () => {
    const { place } = fake();
    const log: string[] = [];
    let second: Promise<unknown> = Promise.resolve();
    const first = withLinuxKsm(
      async () => {
        second = withLinuxKsm(() => log.push("second"), { place, lockSeconds: 30 });
        await expect(refusal(place)).resolves.toMatch(/is taken/);
        log.push("first");
      },
      { place },
    );
    expect(await first).toEqual({ refused: null, value: undefined });
    expect(await second).toEqual({ refused: null, value: 2 });
    expect(log).toEqual(["first", "second"]);
  });
});

describe("the knobs", () => {
  it("are set in an order that the kernel accepts, and restored", async () => {
    const machine = fake();
    const { place, writes } = machine;
    const inside = allowed(await withLinuxKsm(() => machine.knobs(), { place }));
    expect(inside).toEqual({
      ...{ run: "0", pages_to_scan: "2000000000", sleep_millisecs: "1000000000" },
      ...{ merge_across_nodes: "1", max_page_sharing: "256", use_zero_pages: "0" },
      ...{ smart_scan: "0", advisor_mode: "none", stable_node_chains_prune_millisecs: "2000" },
    });
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
    expect(writes.slice(0, 3)).toEqual(["advisor_mode=none", "run=0", "run=2"]);
    expect(writes.indexOf("max_page_sharing=256")).toBeGreaterThan(writes.indexOf("run=2"));
    expect(writes.slice(-3)).toEqual(["run=2", "sleep_millisecs=33", "advisor_mode=scan-time"]);
  });

  it("that this kernel does not have are left out", async () => {
    const machine = fake();
    for (const name of ["advisor_mode", "smart_scan", "use_zero_pages", "merge_across_nodes"]) {
      fs.unlinkSync(join(machine.place.sysfs, name));
    }
    expect(await refusal(machine.place)).toBeNull();
    expect(machine.writes.join()).not.toMatch(/advisor|smart|zero|nodes/);
    expect(machine.get("max_page_sharing")).toBe("64");
  });
});

describe("the old knobs", () => {
  it("are restored when the body throws", async () => {
    const machine = fake();
    const body = () => Promise.reject(new Error("the body failed"));
    await expect(withLinuxKsm(body, { place: machine.place })).rejects.toThrow("the body failed");
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
  });

  it("are set anew from the state file of a killed user", async () => {
    const machine = fake();
    putLock(machine.place, {});
    const state = { boot: "this-boot", knobs: OLD, driver: null };
    fs.writeFileSync(stateFile(machine.place), JSON.stringify(state));
    const left = { run: "1", pages_shared: "5", max_page_sharing: "2", advisor_mode: "[none]" };
    for (const [name, value] of Object.entries(left)) machine.set(name, value);
    expect(linuxKsmUnavailable(machine.place)).toBeNull();
    const saved = () => JSON.parse(fs.readFileSync(stateFile(machine.place), "utf8")).knobs;
    expect(allowed(await withLinuxKsm(saved, { place: machine.place }))).toEqual(OLD);
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
  });

  it("of an earlier boot are forgotten", async () => {
    const machine = fake();
    const state = { boot: "an-earlier-boot", knobs: { max_page_sharing: "9" }, driver: null };
    fs.writeFileSync(stateFile(machine.place), JSON.stringify(state));
    expect(await refusal(machine.place)).toBeNull();
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
  });

  it("that cannot be restored stay in the state file", async () => {
    const machine = fake();
    const trace = (name: string, value: string) => {
      if (name === "smart_scan" && value === "1") fail("EIO");
      machine.place.trace(name, value);
    };
    await expect(refusal({ ...machine.place, trace })).rejects.toThrow("EIO");
    expect(machine.exists()).toEqual({ lock: false, state: true });
    expect(await refusal(machine.place)).toBeNull();
    expect(machine.knobs()).toEqual(OLD);
  });
});

/** Starts linux-ksm-user.ts with a task. */
function otherProcess(place: Partial<Place>, act: UserTask["act"], load = false): ChildProcess {
  const outfile = join(root, "user.mjs");
  if (!fs.existsSync(outfile)) {
    const entryPoints = [join(import.meta.dirname, "linux-ksm-user.ts")];
    buildSync({ entryPoints, bundle: true, platform: "node", format: "esm", outfile });
  }
  const task: UserTask = { place: { driver: placeOf().driver, ...place }, act, load };
  const child = spawn(process.execPath, [outfile, JSON.stringify(task)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  // The fake /proc knows the real process under its number.
  if (place.proc) fs.symlinkSync(`/proc/${child.pid}`, join(place.proc, `${child.pid}`));
  child.stdin!.write("go\n");
  return child;
}

async function inside(child: ChildProcess): Promise<void> {
  for await (const line of createInterface({ input: child.stdout! })) if (line === "inside") return;
  throw new Error("the other process ended before it was inside");
}

describe.skipIf(process.platform === "win32")("another process", { timeout: 60_000 }, () => {
  it.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)("restores on %s", async (signal) => {
    const machine = fake();
    const child = otherProcess(machine.place, "stay");
    await inside(child);
    expect(machine.get("max_page_sharing")).toBe("256");
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([null, signal]);
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
  });

  it("restores on process.exit", async () => {
    const machine = fake();
    const child = otherProcess(machine.place, "exit");
    expect(await once(child, "exit")).toEqual([3, null]);
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
  });

  it("killed with -9 is cleaned up after by the next user", async () => {
    const machine = fake();
    const child = otherProcess(machine.place, "stay");
    await inside(child);
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(machine.exists()).toEqual({ lock: true, state: true });
    expect(machine.get("max_page_sharing")).toBe("256");
    expect(await refusal(machine.place)).toBeNull();
    expect(machine.knobs()).toEqual(OLD);
    expect(machine.exists()).toEqual(NO_FILES);
  });

  it.skipIf(process.platform !== "linux")("and three more never meet inside", async () => {
    const { place, knobs } = fake();
    putLock(place, {});
    const children = Array.from({ length: 4 }, () => otherProcess(place, "contend"));
    const ends = await Promise.all(children.map((child) => once(child, "exit")));
    expect(ends).toEqual(children.map(() => [0, null]));
    expect(fs.readdirSync(place.stateDir)).toEqual([]);
    expect(knobs()).toEqual(OLD);
  });
});

describe("the closed form", () => {
  it("of fills counted by hand", () => {
    // 17 = a full page + one left over; 33 = two full pages (a chain) + one left over.
    expect(closedForm([1, 2, 17, 33], 16)).toEqual({
      ...{ pages_shared: 4, pages_sharing: 46, pages_unshared: 3, pages_volatile: 0 },
      ...{ stable_node_chains: 1, stable_node_dups: 2 },
    });
    expect(closedForm([1, 2, 3, 4], 2)).toMatchObject({ pages_shared: 4, stable_node_chains: 1 });
    expect(closedForm([], 256)).toMatchObject({ pages_shared: 0, pages_unshared: 0 });
    expect(() => closedForm([1], 1)).toThrow("max_page_sharing");
  });

  it("counts the pages of files, the tail filled up with zeros", () => {
    const file = join(root, "counted");
    const bytes = Buffer.alloc(4096 * 1030 + 5);
    bytes[4096] = 1;
    fs.writeFileSync(file, bytes);
    const counts = countFiles([file, file]);
    expect(counts.pages).toBe(2062);
    expect(counts.byContent.get(ContentCounts.zero)).toBe(2060);
    expect([...counts.byContent.values()].sort()).toEqual([2, 2060]);
  });
});

/** `counts[i]` pages of content i, in an order that interleaves contents. */
function fill(counts: readonly number[]): Uint8Array[] {
  const pages: { page: Uint8Array; at: number }[] = [];
  counts.forEach((count, content) => {
    for (let copy = 0; copy < count; copy++) {
      const page = new Uint8Array(4096);
      // The first content is the zero page, others differ early, late or in the middle.
      if (content > 0) new DataView(page.buffer).setUint32((content * 1364) % 4093, content);
      pages.push({ page, at: (copy + 0.5) / count });
    }
  });
  return pages.sort((a, b) => a.at - b.at).map(({ page }) => page);
}

const reason = linuxKsmUnavailable();
const savedKnobs = () => JSON.parse(fs.readFileSync(stateFile(placeOf()), "utf8")).knobs;
const kernel = async <T>(body: (ksm: LinuxKsm) => T | Promise<T>) =>
  allowed(await withLinuxKsm(body));
const title = reason === null ? "linux KSM" : `linux KSM (skipped: ${reason})`;

describe.skipIf(reason !== null)(title, { timeout: 400_000 }, () => {
  it.each([256, 16, 2])("equals the closed form at max_page_sharing %i", async (sharing) => {
    const ones = Array.from({ length: 100 }, () => 1);
    const pages = fill([
      300,
      1,
      2,
      3,
      15,
      16,
      17,
      18,
      31,
      32,
      33,
      255,
      256,
      257,
      258,
      513,
      ...ones,
    ]);
    const expected = countPages(pages).closedForm(sharing);
    const result = await kernel((ksm) => ksm.fold({ pages, maxPageSharing: sharing }));
    expect(result.counters).toMatchObject({ ...expected, full_scans: 2 });
    expect(expected.stable_node_chains).toBeGreaterThan(2);
    expect(result.load.pages).toBe(pages.length);
    expect(result.scans).toHaveLength(2);
  });

  it("folds several files with tails, one after the other and again", async () => {
    const files = [3 * 4096 + 100, 0, 1, 5000].map((length, index) => {
      const file = join(root, `tail${index}`);
      fs.writeFileSync(file, new Uint8Array(length).fill(7));
      return file;
    });
    const expected = countFiles(files).closedForm(256);
    await kernel(async (ksm) => {
      for (let round = 0; round < 2; round++) {
        await ksm.load(files.slice(0, 2));
        await ksm.load(files.slice(2));
        await ksm.scan(1);
        expect(ksm.counters()).toMatchObject({ full_scans: 1, pages_shared: 0, pages_volatile: 7 });
        await ksm.scan(2);
        expect(ksm.counters()).toMatchObject({ ...expected, full_scans: 3 });
        await ksm.unload();
        expect(ksm.counters()).toMatchObject({ ...closedForm([], 256), full_scans: 0 });
      }
    });
  });

  it("maps zero pages to the zero page when told to", async () => {
    const pages = fill([40, 3, 1]);
    const zero = (ksm: LinuxKsm) => ksm.fold({ pages, useZeroPages: true, passes: 3 });
    const { counters } = await kernel(zero);
    expect(counters).toMatchObject({ ...closedForm([3, 1], 256), ksm_zero_pages: 40 });
  });

  it("says what went wrong in the driver", async () => {
    const missing = kernel((ksm) => ksm.fold({ files: [join(root, "missing")] }));
    await expect(missing).rejects.toThrow("FileNotFoundError");
    await expect(kernel((ksm) => ksm.scan(1))).rejects.toThrow("nothing is loaded");
  });
});

describe.skipIf(reason !== null)(`${title}: given back`, { timeout: 400_000 }, () => {
  it("leaves the knobs as they were, and is refused while in use", async () => {
    const before = await kernel(savedKnobs);
    await kernel(async (ksm) => {
      ksm.configure({ maxPageSharing: 3, smartScan: true, useZeroPages: true });
      const rival = { stateDir: fs.mkdtempSync(join(root, "rival")) };
      await ksm.loadPages(fill([0, 2]));
      if (/ksm_mergeable/.test(readText("/proc/self/ksm_stat") ?? "")) {
        expect(await refusal(rival)).toMatch(/process \d+ has mergeable memory$/);
      }
      expect(() => ksm.configure({})).toThrow("while nothing is loaded");
      await ksm.scan(1);
      expect(await refusal(rival)).toBe("kernel KSM is in use: run is 1");
    });
    expect(await kernel(savedKnobs)).toEqual(before);
  });

  it.each(["SIGKILL", "SIGTERM"] as const)("survives %s of a loaded user", async (signal) => {
    const before = await kernel(savedKnobs);
    const child = otherProcess({}, "stay", true);
    await inside(child);
    child.kill(signal);
    expect(await once(child, "exit")).toEqual([null, signal]);
    expect(await kernel(savedKnobs)).toEqual(before);
  });
});
