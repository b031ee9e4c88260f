/**
 * sizes - files, functions and lines stay small.
 *
 * A function counts from its parameters to its closing brace. The callbacks of `describe` are chapters
 * of a test file, not functions. Generated files may be of any size: nobody reads them.
 */
import { posix } from "node:path";
import type { Scan } from "./scanner.ts";
import { type Rule, type SourceFile, scanOf, type Violation } from "./source.ts";
import { type FunctionSpan, functionsOf } from "./syntax.ts";

const FILE_LINES = 500;
const FUNCTION_LINES = 70;
const CODE_COLUMNS = 100;
const COMMENT_COLUMNS = 120;
const ROOTS = /^(src|test|bench|native-free-wasm)\//;
const GENERATED = ".gen.ts";
const KINDS = [".ts", ".mjs"];

function columns(text: string): number {
  return [...text].length;
}

function isLiteral(text: string): boolean {
  return /^["'`]/.test(text) && text.length > 2;
}

/** By line: the offset at which its last token ends, and that of its last token with a comment. */
function codeEnds(scan: Scan): Map<number, number> {
  const ends = new Map<number, number>();
  for (const { start, text, line, endLine } of scan.tokens) {
    let offset = start;
    text.split("\n").forEach((part, i) => {
      offset += part.length;
      if (part.trim() !== "") ends.set(line + i, offset);
      if (line + i < endLine) offset += 1;
    });
  }
  return ends;
}

function longLines(file: SourceFile): Violation[] {
  const scan = scanOf(file);
  const ends = codeEnds(scan);
  const violations: Violation[] = [];
  file.text.split("\n").forEach((text, i) => {
    if (text.length <= CODE_COLUMNS) return;
    const line = i + 1;
    const start = scan.lineStarts[i];
    const code = columns(file.text.slice(start, ends.get(line) ?? start));
    const all = columns(text);
    const report = (count: number, limit: number): void => {
      const message = `${count} columns, the limit is ${limit}`;
      violations.push({ path: file.path, line, rule: "sizes", message });
    };
    // A string cannot be broken: the line is too long if what surrounds it is.
    const literals = scan.tokens
      .filter((token) => token.line === line && isLiteral(token.text))
      .reduce((sum, token) => sum + token.text.length - 2, 0);
    if (code - literals > CODE_COLUMNS) report(code, CODE_COLUMNS);
    else if (all - literals > COMMENT_COLUMNS) report(all, COMMENT_COLUMNS);
  });
  return violations;
}

/** Is the function an argument of `describe(...)`, `describe.each(...)(...)`, a describeX of our own? */
function isChapter(scan: Scan, { start }: FunctionSpan): boolean {
  const { tokens, match, parent } = scan;
  let i = parent[start] - 1;
  while (i > 0) {
    if (tokens[i].text === ")" || tokens[i].kind === "template") i = Math.min(match[i], i) - 1;
    else if (tokens[i - 1].text === ".") i -= 2;
    else break;
  }
  return tokens[i]?.text.startsWith("describe") ?? false;
}

function longFunctions(file: SourceFile): Violation[] {
  const scan = scanOf(file);
  const violations: Violation[] = [];
  for (const span of functionsOf(scan)) {
    const { line } = scan.tokens[span.start];
    const lines = scan.tokens[span.close].line - line + 1;
    if (lines <= FUNCTION_LINES || isChapter(scan, span)) continue;
    const message = `${span.name} has ${lines} lines, the limit is ${FUNCTION_LINES}`;
    violations.push({ path: file.path, line, rule: "sizes", message });
  }
  return violations;
}

export const sizes: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    if (
      file.path.endsWith(GENERATED) ||
      !ROOTS.test(file.path) ||
      !KINDS.includes(posix.extname(file.path))
    )
      continue;
    const lines = file.text.replace(/\n$/, "").split("\n").length;
    if (lines > FILE_LINES) {
      const message = `${lines} lines, the limit is ${FILE_LINES}`;
      violations.push({ path: file.path, line: FILE_LINES + 1, rule: "sizes", message });
    }
    violations.push(...longLines(file), ...longFunctions(file));
  }
  return violations;
};
