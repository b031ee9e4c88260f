/**
 * seam - shared memory is created, read and written in one place.
 */
import { moduleOf, resolve } from "./modules.ts";
import type { Scan, Token } from "./scanner.ts";
import {
  isProtocol,
  layerOf,
  type Rule,
  type SourceFile,
  scanOf,
  type Violation,
} from "./source.ts";

export const SEAM = "src/base/atomics.ts";
const CREATOR = "src/base/memory.ts";

function isSource(path: string): boolean {
  return layerOf(path) !== undefined;
}

/** Does `new` at token `at` create memory that can be shared? */
function createsMemory(tokens: readonly Token[], at: number): boolean {
  const names = tokens.slice(at + 1, at + 6).map((token) => token.text);
  if (names[0] === "globalThis") names.splice(0, 2);
  if (names[0] === "SharedArrayBuffer") return true;
  return names[0] === "WebAssembly" && names[1] === "." && names[2] === "Memory";
}

/** `Atomics` in the seam alone; shared memory created in base/memory.ts (and, private, by kernels). */
export const seam: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    if (!isSource(file.path)) continue;
    const report = (line: number, message: string): void => {
      violations.push({ path: file.path, line, rule: "seam", message });
    };
    const { tokens } = scanOf(file);
    const mayCreate = file.path === CREATOR || layerOf(file.path) === "kernels";
    tokens.forEach((token, i) => {
      if (token.text === "Atomics" && file.path !== SEAM) {
        report(token.line, `Atomics is for ${SEAM} alone`);
      }
      if (token.text === "new" && !mayCreate && createsMemory(tokens, i)) {
        report(token.line, `shared memory is created in ${CREATOR} alone`);
      }
    });
    for (const each of moduleOf(file).imports) {
      if (each.reexport && resolve(file.path, each.specifier) === SEAM) {
        report(each.line, "the seam is imported where it is used, never passed on");
      }
    }
  }
  return violations;
};

const SHARED = new Set(["control", "words", "wide", "bytes"]);

/** Is the object literal or pattern that ends at token `close` assigned from something? */
function isPattern(tokens: readonly Token[], close: number): boolean {
  return tokens[close + 1]?.text === "=" || tokens[close + 1]?.text === ":";
}

/** Local names for a shared array: `const w = block.words`, `const { words: w } = block`. */
function aliases(scan: Scan): Set<string> {
  const { tokens, match, parent } = scan;
  const names = new Set<string>();
  tokens.forEach((token, i) => {
    if (!SHARED.has(token.text)) return;
    const before = tokens[i - 1]?.text;
    if (before === "." || before === "?.") {
      let first = i - 1;
      while (
        first >= 0 &&
        (tokens[first].kind === "word" || /^[.!]|^\?\./.test(tokens[first].text))
      ) {
        first--;
        if (tokens[first]?.text === "]" || tokens[first]?.text === ")") first = match[first] - 1;
      }
      const ends = tokens[i + 1]?.text === ";" || tokens[i + 1]?.text === ",";
      if (ends && tokens[first]?.text === "=") names.add(tokens[first - 1].text);
    }
    const outer = parent[i];
    const inPattern = tokens[outer]?.text === "{" && isPattern(tokens, match[outer]);
    const declared = ["const", "let", "(", ","].includes(tokens[outer - 1]?.text ?? "");
    if (inPattern && declared && (before === "{" || before === ",")) {
      names.add(tokens[i + 1].text === ":" ? tokens[i + 2].text : token.text);
    }
  });
  return names;
}

function directAccess(file: SourceFile): Violation[] {
  const scan = scanOf(file);
  const { tokens } = scan;
  const local = aliases(scan);
  const violations: Violation[] = [];
  tokens.forEach((token, i) => {
    const member = tokens[i - 1]?.text === "." || tokens[i - 1]?.text === "?.";
    if (!(member ? SHARED.has(token.text) : local.has(token.text))) return;
    let next = i + 1;
    if (tokens[next]?.text === "!" || tokens[next]?.text === "?.") next++;
    const indexed = tokens[next]?.text === "[";
    const method = tokens[next]?.text === "." && tokens[next + 2]?.text === "(";
    if (!indexed && !(method && token.text !== "bytes")) return;
    const how = indexed ? "[" : `.${tokens[next + 1].text}(`;
    const message = `${token.text}${how}: shared words are accessed through ${SEAM}`;
    violations.push({ path: file.path, line: token.line, rule: "direct-access", message });
  });
  return violations;
}

/** Protocol code never indexes a shared array. */
export const directAccesses: Rule = (files) =>
  files.filter((file) => isProtocol(file.path)).flatMap(directAccess);
