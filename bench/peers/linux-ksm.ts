/**
 * linux-ksm - the one module through which tests and benchmarks touch the machine's own kernel KSM.
 *
 *   const outcome = await withLinuxKsm((ksm) => ksm.fold({ files, maxPageSharing: 256, passes: 2 }));
 *
 * A python3 child maps the bytes into private anonymous MADV_MERGEABLE memory; this side drives ksmd one
 * full scan at a time and reads the counters between scans. What that rests on:
 *
 * - A batch never crosses the end of a scan, so with pages_to_scan beyond all pages a wake is one scan.
 * - Between batches ksmd sleeps sleep_millisecs, here eleven days, and wakes when the value changes. It reads
 *   the value after the batch, so a change before it sleeps is lost: every change waits for state S first.
 * - run=1 wakes ksmd only from its other sleep, the one with nothing to do. It moves there when it is woken
 *   under run 0 or 2: `unmergeAll` changes sleep_millisecs once more for that.
 *
 * INVARIANTS
 * 1. One user at a time: a lock file names its owner (linux-ksm-lock.ts).
 * 2. Before the first change all old values are in the state file. Whoever finds it under the lock restores:
 *    this process at the end, on exit or on a signal, or the next user after a kill -9.
 * 3. KSM that somebody else uses (run, pages_shared, mergeable memory of any process) is refused, not shared.
 */

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import {
  applyKnobs,
  asleep,
  findKsmd,
  KNOBS,
  lockFile,
  type Place,
  readKnob,
  readKnobs,
  restoreState,
  SLEEPS,
  type State,
  SYNC_SECONDS,
  saveState,
  stateFile,
  unmergeAll,
  until,
  wake,
  writeKnob,
} from "./linux-ksm-knobs.js";
import {
  alive,
  bootOf,
  dropLock,
  identify,
  type Owner,
  readOwned,
  readText,
  takeLock,
} from "./linux-ksm-lock.js";

export interface Settings {
  readonly maxPageSharing?: number;
  readonly useZeroPages?: boolean;
  readonly smartScan?: boolean;
  readonly mergeAcrossNodes?: boolean;
  readonly pruneMillisecs?: number;
}

/** Named as under sysfs. The optional ones are missing from older kernels. */
export interface Counters {
  pages_shared: number;
  pages_sharing: number;
  pages_unshared: number;
  pages_volatile: number;
  stable_node_chains: number;
  stable_node_dups: number;
  full_scans: number;
  ksm_zero_pages?: number;
  pages_scanned?: number;
  pages_skipped?: number;
  general_profit?: number;
}

/** `seconds`: reading and mapping (or writing), without the start of python3. */
export interface Load {
  readonly pages: number;
  readonly seconds: number;
}

/** One full scan; `cpuSeconds` is what ksmd itself ran, null where the kernel does not tell. */
export interface Scan {
  readonly seconds: number;
  readonly cpuSeconds: number | null;
}

export interface Fill {
  readonly files?: readonly string[];
  /** Page contents, 4096 bytes each. */
  readonly pages?: Iterable<Uint8Array>;
}

/** Which pages are written, and what: 16 * page + salt, as four bytes from `byte` on. */
export interface Write {
  readonly first: number;
  readonly step: number;
  readonly byte: number;
  /** 0 to 15. */
  readonly salt: number;
}

export interface Fold {
  readonly load: Load;
  readonly scans: readonly Scan[];
  readonly counters: Counters;
}

export type Outcome<T> =
  | { readonly refused: string }
  | { readonly refused: null; readonly value: T };

export interface Options {
  readonly place?: Partial<Place>;
  /** How long to wait for another live user of this module; 0 refuses at once. */
  readonly lockSeconds?: number;
}

const PAGE = 4096;
const LOAD_SECONDS = 600;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const NEEDED = ["pages_shared", "pages_sharing", "pages_unshared", "pages_volatile"] as const;
const COUNTERS = [
  ...NEEDED,
  "stable_node_chains",
  "stable_node_dups",
  "full_scans",
  "ksm_zero_pages",
  "pages_scanned",
  "pages_skipped",
  "general_profit",
] as const;

export function placeOf(over: Partial<Place> = {}): Place {
  return {
    sysfs: "/sys/kernel/mm/ksm",
    proc: "/proc",
    ksmd: null,
    stateDir: tmpdir(),
    env: process.env,
    platform: process.platform,
    uid: process.getuid?.() ?? -1,
    python: "python3",
    driver: fileURLToPath(new URL("./linux-ksm.py", import.meta.url)),
    trace: () => {},
    ...over,
  };
}

/** Why kernel KSM cannot be used here, in one sentence; null when it can, if need be after waiting. */
export function linuxKsmUnavailable(over: Partial<Place> = {}): string | null {
  const p = placeOf(over);
  // A live user's knobs say nothing, and a killed user's are restored by the next start.
  return incapable(p) ?? (ours(p) ? null : inUse(p));
}

/** Runs `body` as the only user, with every knob set, and restores everything afterwards. */
export async function withLinuxKsm<T>(
  body: (ksm: LinuxKsm) => T | Promise<T>,
  options: Options = {},
): Promise<Outcome<T>> {
  const found = placeOf(options.place);
  const reason = incapable(found);
  if (reason !== null) return { refused: reason };
  const p: Place = { ...found, ksmd: findKsmd(found) };
  const self = identify(p.proc);
  const holder = await takeLock(p.proc, lockFile(p), self, options.lockSeconds ?? 300);
  if (holder !== null) {
    return { refused: `kernel KSM is taken: process ${holder.pid} holds ${lockFile(p)}` };
  }
  const ksm = new LinuxKsm(p);
  let finished = false;
  const finish = () => {
    // After a signal the lock and the state file may already be the next user's.
    if (finished) return;
    finished = true;
    ksm.stop();
    try {
      restoreState(p);
    } finally {
      dropLock(lockFile(p), self);
    }
  };
  const unhook = hookExit(finish);
  try {
    restoreState(p);
    const busy = inUse(p);
    if (busy !== null) return { refused: busy };
    saveState(p, { boot: self.boot, knobs: readKnobs(p), driver: null });
    ksm.configure({});
    return { refused: null, value: await body(ksm) };
  } finally {
    try {
      await ksm.close();
    } finally {
      unhook();
      finish();
    }
  }
}

/** The value of an outcome, for callers that asked `linuxKsmUnavailable` before. */
export function allowed<T>(outcome: Outcome<T>): T {
  if (outcome.refused === null) return outcome.value;
  throw new Error(outcome.refused);
}

// Whether it can be used.

function incapable(p: Place): string | null {
  if (p.platform !== "linux") return `kernel KSM needs Linux, this is ${p.platform}`;
  if (p.env.CI !== "true" && p.env.PAGEFOLD_KERNEL_KSM !== "1") {
    return "kernel KSM changes the whole machine: set PAGEFOLD_KERNEL_KSM=1 (or CI=true) to allow it";
  }
  if (p.uid !== 0) return "kernel KSM needs root";
  if (readText(join(p.sysfs, "run")) === null) return `this kernel has no KSM: no ${p.sysfs}/run`;
  if (findKsmd(p) === null) return `ksmd is not visible under ${p.proc}`;
  try {
    ours(p);
  } catch (error) {
    return (error as Error).message;
  }
  const python = spawnSync(p.python, ["-I", "-c", "import mmap; mmap.MADV_MERGEABLE"]);
  if (python.status !== 0) return `kernel KSM needs python3 (3.8 or later) as ${p.python}`;
  return null;
}

/** Whether a live user of this module has it, or a killed one left it to be restored. */
function ours(p: Place): boolean {
  const holder = readOwned<Owner>(lockFile(p));
  if (holder !== null && alive(p.proc, holder)) return true;
  return readOwned<State>(stateFile(p))?.boot === bootOf(p.proc);
}

function inUse(p: Place): string | null {
  const run = readKnob(p, "run");
  if (run !== "0" && run !== "2") return `kernel KSM is in use: run is ${run}`;
  const shared = readKnob(p, "pages_shared");
  if (shared !== "0") return `kernel KSM is in use: pages_shared is ${shared}`;
  for (const pid of fs.readdirSync(p.proc).filter((name) => /^\d+$/.test(name))) {
    // Newer kernels tell. On older ones the sum in `scan` notices.
    if (/^ksm_mergeable: *yes/m.test(readText(join(p.proc, pid, "ksm_stat")) ?? "")) {
      return `kernel KSM is in use: process ${pid} has mergeable memory`;
    }
  }
  return null;
}

/** Calls `finish` when the process exits or is told to; a signal then takes its usual course. */
function hookExit(finish: () => void): () => void {
  const onSignal = (signal: NodeJS.Signals) => {
    unhook();
    finish();
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };
  const unhook = () => {
    process.off("exit", finish);
    for (const signal of SIGNALS) process.off(signal, onSignal);
  };
  process.on("exit", finish);
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return unhook;
}

/** The kernel in use: lives as long as the body of `withLinuxKsm`. */
export class LinuxKsm {
  readonly #place: Place;
  #child: ChildProcessWithoutNullStreams | null = null;
  #answers: AsyncIterator<string> | null = null;
  #complaint = "";
  #pages = 0;
  #zeroPages = false;
  #closed = false;

  constructor(place: Place) {
    this.#place = place;
  }

  /** Loads, scans `passes` times (two suffice without smart_scan), reads the counters, unloads. */
  async fold(what: Fill & Settings & { readonly passes?: number }): Promise<Fold> {
    this.configure(what);
    try {
      const load = await (what.pages ? this.loadPages(what.pages) : this.load(what.files ?? []));
      const scans = load.pages === 0 ? [] : await this.scan(what.passes ?? 2);
      return { load, scans, counters: this.counters() };
    } finally {
      await this.unload();
    }
  }

  /** Sets the knobs; only while nothing is loaded. */
  configure(settings: Settings): void {
    this.#open();
    if (this.#pages > 0) throw new Error("knobs change only while nothing is loaded");
    const p = this.#place;
    if (settings.useZeroPages && readKnob(p, "use_zero_pages") === null) {
      throw new Error("this kernel has no use_zero_pages");
    }
    const target: Record<string, string> = {
      max_page_sharing: `${settings.maxPageSharing ?? 256}`,
      merge_across_nodes: (settings.mergeAcrossNodes ?? true) ? "1" : "0",
      use_zero_pages: settings.useZeroPages ? "1" : "0",
      smart_scan: settings.smartScan ? "1" : "0",
      stable_node_chains_prune_millisecs: `${settings.pruneMillisecs ?? 2000}`,
      pages_to_scan: "2000000000",
      run: "0",
      sleep_millisecs: SLEEPS[0],
      advisor_mode: "none",
    };
    for (const name of KNOBS) if (readKnob(p, name) === null) delete target[name];
    applyKnobs(p, target);
    this.#zeroPages = settings.useZeroPages ?? false;
  }

  /** Maps files, each from a page of its own on, a last part of a page filled up with zeros. */
  async load(files: readonly string[]): Promise<Load> {
    this.#open();
    const load = await this.#ask({ load: files });
    this.#pages += load.pages;
    return load;
  }

  /** Maps page contents, by way of a temporary file. */
  async loadPages(contents: Iterable<Uint8Array>): Promise<Load> {
    const dir = fs.mkdtempSync(join(tmpdir(), "pagefold-ksm-"));
    const file = join(dir, "pages");
    try {
      const fd = fs.openSync(file, "wx");
      try {
        for (const page of contents) {
          if (page.length !== PAGE) throw new RangeError(`a page of ${page.length} bytes`);
          fs.writeSync(fd, page);
        }
      } finally {
        fs.closeSync(fd);
      }
      return await this.load([file]);
    } finally {
      fs.rmSync(dir, { recursive: true });
    }
  }

  /** Writes every `step`th of the loaded pages, each a word of its own; returns how many. */
  async write(what: Write): Promise<number> {
    this.#open();
    return (await this.#ask({ write: what })).pages;
  }

  /** `passes` full scans, each waited for. */
  async scan(passes: number): Promise<Scan[]> {
    const p = this.#place;
    const scans: Scan[] = [];
    for (let pass = 0; pass < passes; pass++) {
      this.#open();
      if (this.#pages === 0) throw new Error("ksmd does not scan while nothing is loaded");
      until("ksmd to sleep", () => asleep(p));
      const before = this.counters().full_scans;
      const cpuBefore = cpuSecondsOf(p);
      const begin = performance.now();
      if (readKnob(p, "run") === "1") wake(p);
      else writeKnob(p, "run", "1");
      const over = () => this.#closed || (Number(readKnob(p, "full_scans")) > before && asleep(p));
      await untilLater(`scan ${before + 1} of ${this.#pages} pages`, this.#patience(), over);
      const seconds = (performance.now() - begin) / 1000;
      const cpuAfter = cpuSecondsOf(p);
      this.#audit(before + 1);
      const cpuSeconds = cpuBefore === null || cpuAfter === null ? null : cpuAfter - cpuBefore;
      scans.push({ seconds, cpuSeconds });
    }
    return scans;
  }

  /** Read while ksmd sleeps between two scans. */
  counters(): Counters {
    this.#open();
    until("ksmd to sleep", () => asleep(this.#place));
    const counters: Record<string, number> = {};
    for (const name of COUNTERS) {
      const value = readKnob(this.#place, name);
      if (value !== null) counters[name] = Number(value);
    }
    return counters as unknown as Counters;
  }

  /** Ends the process that holds the memory, and has the kernel forget it. */
  async unload(): Promise<void> {
    await this.#end();
    this.#open();
    unmergeAll(this.#place);
  }

  /** From here on every call throws. */
  stop(): void {
    this.#closed = true;
  }

  async close(): Promise<void> {
    this.stop();
    await this.#end();
  }

  /** Seconds; a long chain of full dups (max_page_sharing 2) is walked whole for every further page. */
  #patience(): number {
    return 60 + Math.ceil(this.#pages / 500);
  }

  #open(): void {
    if (this.#closed) throw new Error("kernel KSM was given back");
  }

  /** What a scan must have left: exactly one more scan, exactly the pages that were loaded. */
  #audit(scan: number): void {
    const counters = this.counters();
    if (counters.full_scans !== scan) {
      throw new Error(`ksmd ended scan ${counters.full_scans}, asked for was scan ${scan}`);
    }
    const tracked = NEEDED.reduce((sum, name) => sum + counters[name], 0);
    if (this.#zeroPages ? tracked > this.#pages : tracked !== this.#pages) {
      throw new Error(
        `ksmd tracks ${tracked} pages, loaded were ${this.#pages}: ` +
          "another process has mergeable memory, or pages were swapped out",
      );
    }
  }

  #start(): ChildProcessWithoutNullStreams {
    const p = this.#place;
    const child = spawn(p.python, ["-I", p.driver], { stdio: "pipe" });
    this.#complaint = "";
    const complain = (text: unknown) => {
      this.#complaint += text;
    };
    child.stderr.setEncoding("utf8").on("data", complain);
    child.on("error", complain);
    child.stdin.on("error", complain);
    this.#answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    if (child.pid !== undefined) {
      const state = readOwned<State>(stateFile(p));
      if (state === null) throw new Error("the state file is gone");
      saveState(p, { ...state, driver: identify(p.proc, child.pid) });
    }
    return child;
  }

  async #ask(request: object): Promise<Load> {
    this.#child ??= this.#start();
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    const patience = new AbortController();
    const late = delay(LOAD_SECONDS * 1000, { value: "", done: true }, { signal: patience.signal });
    const line = await Promise.race([this.#answers!.next(), late]);
    patience.abort();
    if (line.done) throw new Error(`the python3 driver gave no answer: ${this.#complaint}`);
    const answer = JSON.parse(line.value) as Load | { error: string };
    if ("error" in answer) throw new Error(`the python3 driver failed: ${answer.error}`);
    return answer;
  }

  async #end(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    this.#pages = 0;
    if (child === null || child.pid === undefined) return;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit", { signal: AbortSignal.timeout(SYNC_SECONDS * 1000) });
  }
}

/** Seconds that ksmd has run on a processor; null where the kernel does not tell. */
function cpuSecondsOf(p: Place): number | null {
  const ran = readText(join(p.ksmd ?? "", "schedstat"))?.split(" ")[0];
  return ran === undefined ? null : Number(ran) / 1e9;
}

async function untilLater(what: string, seconds: number, condition: () => boolean): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${seconds} s for ${what}`);
    await delay(1);
  }
}
