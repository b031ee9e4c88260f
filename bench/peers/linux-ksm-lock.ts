/**
 * linux-ksm-lock - private to linux-ksm: a lock file that names its owner, and the /proc reads behind it.
 *
 * A process is known by pid, start time and boot, so a file that a killed process left is recognised even
 * when its pid runs again. The file appears with its content or not at all (link(2) of a draft).
 */

import { randomUUID } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";

export interface Process {
  readonly pid: number;
  readonly start: string;
  readonly boot: string;
}

export interface Owner extends Process {
  readonly nonce: string;
}

export function identify(proc: string, pid = process.pid): Owner {
  const start = statOf(join(proc, `${pid}`))?.[19] ?? "gone";
  return { pid, start, boot: bootOf(proc), nonce: randomUUID() };
}

/** Whether that very process still runs: not a later one with its pid, not a zombie. */
export function alive(proc: string, who: Process): boolean {
  const stat = statOf(join(proc, `${who.pid}`));
  if (stat === null || who.boot !== bootOf(proc) || stat[19] !== who.start) return false;
  return stat[0] !== "Z" && stat[0] !== "X";
}

/** Takes the lock and returns null, or returns who still holds it when the time is over. */
export async function takeLock(
  proc: string,
  file: string,
  self: Owner,
  seconds: number,
): Promise<Owner | null> {
  const deadline = performance.now() + seconds * 1000;
  for (;;) {
    const holder = tryLock(proc, file, self);
    if (holder === null || performance.now() >= deadline) return holder;
    await delay(20);
  }
}

/**
 * Takes the lock and returns null, or returns its live holder. A dead owner's file is removed only under a
 * second lock that is named after that owner: nobody can remove a file that has changed hands meanwhile.
 */
function tryLock(proc: string, file: string, self: Owner): Owner | null {
  for (;;) {
    const draft = `${file}.${self.nonce}.new`;
    fs.writeFileSync(draft, JSON.stringify(self), { flag: "wx", mode: 0o600 });
    try {
      fs.linkSync(draft, file);
      return null;
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
    } finally {
      fs.unlinkSync(draft);
    }
    const holder = readOwned<Owner>(file);
    if (holder === null) continue;
    if (alive(proc, holder)) return holder;
    const marker = `${file}.${holder.nonce}`;
    const rival = tryLock(proc, marker, self);
    if (rival !== null) return rival;
    if (readOwned<Owner>(file)?.nonce === holder.nonce) fs.unlinkSync(file);
    fs.unlinkSync(marker);
  }
}

export function dropLock(file: string, self: Owner): void {
  if (readOwned<Owner>(file)?.nonce === self.nonce) fs.unlinkSync(file);
}

/** Replaces a file of ours whole, on disk before it is seen. */
export function writeOwned(file: string, value: object): void {
  const draft = `${file}.${randomUUID()}.new`;
  fs.writeFileSync(draft, JSON.stringify(value), { flag: "wx", mode: 0o600, flush: true });
  fs.renameSync(draft, file);
}

/** A file of ours; null when there is none. The directory is open to all users, so its uid is checked. */
export function readOwned<T>(file: string): T | null {
  const stat = fs.lstatSync(file, { throwIfNoEntry: false });
  if (stat === undefined) return null;
  const text = stat.isFile() && stat.uid === process.getuid?.() ? readText(file) : "foreign";
  if (text === null) return null;
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new Error(`${file} is not a file of this module: remove it`);
  }
}

/** The fields of a process' stat from its state on ([0] state, [1] parent, [19] start); null: gone. */
export function statOf(dir: string): string[] | null {
  const text = readText(join(dir, "stat"));
  return text === null ? null : text.slice(text.lastIndexOf(")") + 2).split(" ");
}

export function bootOf(proc: string): string {
  return readText(join(proc, "sys/kernel/random/boot_id")) ?? "unknown";
}

/** A small text file without its last newline; null when it is not there (or its process is gone). */
export function readText(file: string): string | null {
  try {
    return fs.readFileSync(file, "utf8").trimEnd();
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "ESRCH", "EACCES"].includes(codeOf(error))) return null;
    throw error;
  }
}

export function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
