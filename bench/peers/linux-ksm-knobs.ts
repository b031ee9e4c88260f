/**
 * linux-ksm-knobs - private to linux-ksm: the knobs under sysfs, ksmd's sleep, and the state file.
 *
 * Everything here is synchronous, because it also runs while the process exits.
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import {
  alive,
  bootOf,
  codeOf,
  type Process,
  readOwned,
  readText,
  statOf,
  writeOwned,
} from "./linux-ksm-lock.js";

/** Where everything is; tests give a directory of plain files as `sysfs` and `ksmd`. */
export interface Place {
  readonly sysfs: string;
  readonly proc: string;
  /** Directory of ksmd under `proc`; null: look for it. */
  readonly ksmd: string | null;
  /** Directory of the lock file and of the state file. */
  readonly stateDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly platform: string;
  readonly uid: number;
  readonly python: string;
  readonly driver: string;
  /** Told of every knob write, in order. */
  readonly trace: (knob: string, value: string) => void;
}

export const SYNC_SECONDS = 30;
/** Eleven days and a half; one of the two is always a change. */
export const SLEEPS = ["1000000000", "1000000001"] as const;
/** Every knob relied on. The kernel refuses the first two while a page is shared. */
const FIRST_KNOBS = ["max_page_sharing", "merge_across_nodes"];
const FREE_KNOBS = [
  "use_zero_pages",
  "smart_scan",
  "stable_node_chains_prune_millisecs",
  "pages_to_scan",
];
export const KNOBS = ["advisor_mode", ...FIRST_KNOBS, ...FREE_KNOBS, "run", "sleep_millisecs"];

export const lockFile = (p: Place): string => join(p.stateDir, "pagefold-linux-ksm.lock");
export const stateFile = (p: Place): string => join(p.stateDir, "pagefold-linux-ksm.state.json");

export interface State {
  readonly boot: string;
  readonly knobs: Readonly<Record<string, string>>;
  readonly driver: Process | null;
}

export function saveState(p: Place, state: State): void {
  writeOwned(stateFile(p), state);
}

/** Brings back what the state file holds, if there is one. It stays when that fails. */
export function restoreState(p: Place): void {
  const state = readOwned<State>(stateFile(p));
  if (state === null) return;
  if (state.boot === bootOf(p.proc)) {
    const { driver, knobs } = state;
    if (driver !== null && alive(p.proc, driver)) {
      process.kill(driver.pid, "SIGKILL");
      until("the python3 driver to end", () => !alive(p.proc, driver));
    }
    applyKnobs(p, knobs);
    for (const [name, value] of Object.entries(knobs)) {
      const advised = name === "pages_to_scan" && knobs.advisor_mode === "scan-time";
      if (!advised && readKnob(p, name) !== value) throw new Error(`${name} is not ${value} again`);
    }
  }
  fs.unlinkSync(stateFile(p));
}

export function readKnobs(p: Place): Record<string, string> {
  const knobs: Record<string, string> = {};
  for (const name of KNOBS) {
    const value = readKnob(p, name);
    if (value !== null) knobs[name] = value;
  }
  return knobs;
}

/** Unmerges everything and sets the knobs, in the one order that the kernel accepts. */
export function applyKnobs(p: Place, target: Readonly<Record<string, string>>): void {
  const set = (name: string) => {
    if (target[name] !== undefined) writeKnob(p, name, target[name]);
  };
  // Under the advisor pages_to_scan cannot be written.
  if (readKnob(p, "advisor_mode") !== null) writeKnob(p, "advisor_mode", "none");
  unmergeAll(p);
  // Both are refused while a page is shared or a stable node is stuck.
  for (const name of FIRST_KNOBS) retry(`${name} to change`, () => set(name));
  for (const name of FREE_KNOBS) set(name);
  if (target.run !== "0") set("run");
  set("sleep_millisecs");
  if (target.advisor_mode !== "none") set("advisor_mode");
}

/** run=2: every page private again, every rmap item and stable node gone, ksmd asleep with nothing to do. */
export function unmergeAll(p: Place): void {
  // Writing the value that is there does nothing, so run=2 must follow another one.
  writeKnob(p, "run", "0");
  retry("run=2 to unmerge", () => writeKnob(p, "run", "2"));
  until("ksmd to sleep", () => asleep(p));
  wake(p);
  until("ksmd to sleep", () => asleep(p));
  writeKnob(p, "run", "0");
  until("pages_shared to be 0", () => readKnob(p, "pages_shared") === "0");
}

/** Changes sleep_millisecs, which ends ksmd's sleep between two batches. */
export function wake(p: Place): void {
  const other = readKnob(p, "sleep_millisecs") === SLEEPS[0] ? SLEEPS[1] : SLEEPS[0];
  writeKnob(p, "sleep_millisecs", other);
}

/** The value of a knob or counter, a choice in brackets resolved; null where the kernel has none. */
export function readKnob(p: Place, name: string): string | null {
  const text = readText(join(p.sysfs, name));
  return text === null ? null : (/\[(.+)\]/.exec(text)?.[1] ?? text);
}

export function writeKnob(p: Place, name: string, value: string): void {
  p.trace(name, value);
  fs.writeFileSync(join(p.sysfs, name), value);
}

/** State S is set before ksmd looks at sleep_millisecs again: a change after it is never lost. */
export function asleep(p: Place): boolean {
  const dir = findKsmd(p);
  return dir !== null && statOf(dir)?.[0] === "S";
}

export function findKsmd(p: Place): string | null {
  if (p.ksmd !== null) return p.ksmd;
  for (const pid of fs.readdirSync(p.proc).filter((name) => /^\d+$/.test(name))) {
    const dir = join(p.proc, pid);
    // Kernel threads are children of process 2.
    if (readText(join(dir, "comm")) === "ksmd" && statOf(dir)?.[1] === "2") return dir;
  }
  return null;
}

// Waiting: always for a condition, never longer than said.

/** Waits without giving way: for conditions that hold within microseconds, and on the way out. */
export function until(what: string, condition: () => boolean): void {
  const deadline = performance.now() + SYNC_SECONDS * 1000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`waited ${SYNC_SECONDS} s for ${what}`);
  }
}

/** Repeats an action for as long as the kernel says "busy" or "interrupted". */
function retry(what: string, action: () => void): void {
  until(what, () => {
    try {
      action();
      return true;
    } catch (error) {
      if (codeOf(error) === "EBUSY" || codeOf(error) === "EINTR") return false;
      throw error;
    }
  });
}
