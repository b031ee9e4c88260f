/**
 * headers - every file says what it is; a file that owns a word says what holds for it and what checks it.
 */
import { posix } from "node:path";
import { ORDERED_WRITES, seamCalls } from "./calls.ts";
import type { Comment } from "./scanner.ts";
import {
  isDeclaration,
  layerOf,
  type Rule,
  type SourceFile,
  scanOf,
  type Violation,
} from "./source.ts";

const OWNING_LAYERS = ["mm", "ksm"];
const SECTIONS = ["OWNS", "INVARIANTS", "MODEL"];
const MODEL_TEST = /test\/model\/[\w./-]+/g;

/** The doc comment at the very beginning, or below the `#!` line of a command. */
function headerOf(file: SourceFile): Comment | undefined {
  const { comments } = scanOf(file);
  const command = comments[0]?.text.startsWith("#!") === true;
  const header = comments[command ? 1 : 0];
  const start = command ? comments[0].text.length + 1 : 0;
  return header?.start === start && header.text.startsWith("/**") ? header : undefined;
}

/** The line of a header that begins with `word`, with the lines that continue it. */
function section(header: Comment, word: string): { line: number; text: string } | undefined {
  const lines = header.text.split("\n").map((each) => each.replace(/^\s*\/?\*+\/? ?/, ""));
  const at = lines.findIndex((each) => new RegExp(`^${word}\\b`).test(each));
  if (at < 0) return undefined;
  let end = at + 1;
  while (end < lines.length && /^\s+\S/.test(lines[end])) end++;
  return { line: header.line + at, text: lines.slice(at, end).join("\n") };
}

function modelFaults(text: string, paths: ReadonlySet<string>): string[] {
  const named = text.match(MODEL_TEST) ?? [];
  const tests = named.map((each) => each.replace(/\.$/, ""));
  if (tests.length === 0) return ["MODEL names no test/model/NAME.test.ts"];
  const missing = tests.filter((each) => !each.endsWith(".test.ts") || !paths.has(each));
  return missing.map((each) => `MODEL names ${each}, which does not exist`);
}

export const headers: Rule = (files) => {
  const paths = new Set(files.map((file) => file.path));
  const violations: Violation[] = [];
  for (const file of files) {
    const layer = layerOf(file.path);
    if (layer === undefined || isDeclaration(file.path) || file.path === "src/index.ts") continue;
    const report = (line: number, message: string): void => {
      violations.push({ path: file.path, line, rule: "headers", message });
    };
    const header = headerOf(file);
    const name = posix.basename(file.path, ".ts");
    const opening = /^\/\*\*\s+(?:\*\s+)?(\S+) - \S/.exec(header?.text ?? "");
    if (opening?.[1] !== name) report(1, `the file begins with /** ${name} - what it is`);
    if (!OWNING_LAYERS.includes(layer) || seamCalls(file, ORDERED_WRITES).length === 0) continue;
    for (const word of SECTIONS) {
      const found = header && section(header, word);
      if (found === undefined) report(1, `the file writes ordered words: its header needs ${word}`);
      else if (word === "MODEL") {
        for (const message of modelFaults(found.text, paths)) report(found.line, message);
      }
    }
  }
  return violations;
};
