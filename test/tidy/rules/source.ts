/**
 * source - what a rule takes and gives: a set of files in, violations out. Rules read nothing else, so
 * each can be tried on a snippet.
 */
import { type Scan, scan } from "./scanner.ts";

export interface SourceFile {
  /** Relative to the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

export interface Violation {
  readonly path: string;
  readonly line: number;
  readonly rule: string;
  readonly message: string;
}

export type Rule = (files: readonly SourceFile[]) => Violation[];

export function format(violation: Violation): string {
  return `${violation.path}:${violation.line} ${violation.rule}: ${violation.message}`;
}

const scans = new WeakMap<SourceFile, Scan>();

/** The tokens of a file, made once for all rules. */
export function scanOf(file: SourceFile): Scan {
  let found = scans.get(file);
  if (found === undefined) {
    found = scan(file.text);
    scans.set(file, found);
  }
  return found;
}

/** The directory under src ("mm"), or the base name of a file that lies in src itself ("index"). */
export function layerOf(path: string): string | undefined {
  const match = /^src\/([\w-]+)(\/|\.)/.exec(path);
  return match?.[1];
}

const PROTOCOL = ["mm", "ksm", "migrate"];

export function isProtocol(path: string): boolean {
  return PROTOCOL.includes(layerOf(path) ?? "");
}

export function isDeclaration(path: string): boolean {
  return path.endsWith(".d.ts");
}
