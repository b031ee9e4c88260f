/**
 * protocol - protocol code is synchronous and deterministic; a library does not print or end the process.
 */
import { moduleOf } from "./modules.ts";
import type { Token } from "./scanner.ts";
import { isProtocol, layerOf, type Rule, scanOf, type Violation } from "./source.ts";

const BANNED_IN_PROTOCOL = new Set([
  ..."try catch finally async await Promise setTimeout setInterval setImmediate".split(" "),
  ..."queueMicrotask Date performance process console".split(" "),
]);

/** The text of the tokens from `at` on, joined: "Math.random(" */
function textAt(tokens: readonly Token[], at: number, count: number): string {
  return tokens
    .slice(at, at + count)
    .map((token) => token.text)
    .join("");
}

/** Is the word at `at` a member of something (other than the global object)? */
function isMember(tokens: readonly Token[], at: number): boolean {
  const before = tokens[at - 1]?.text;
  return (before === "." || before === "?.") && tokens[at - 2]?.text !== "globalThis";
}

export const protocol: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    if (!isProtocol(file.path)) continue;
    const { tokens } = scanOf(file);
    tokens.forEach((token, i) => {
      if (token.kind !== "word" || isMember(tokens, i)) return;
      const random = textAt(tokens, i, 3) === "Math.random";
      if (!random && !BANNED_IN_PROTOCOL.has(token.text)) return;
      const message = `${random ? "Math.random" : token.text} in protocol code`;
      violations.push({ path: file.path, line: token.line, rule: "protocol", message });
    });
  }
  return violations;
};

/** Flags of V8 are the process's; the one that shows the garbage collector is set here, by an option alone. */
const SETS_FLAGS = "src/machine/garbage.ts";

const BANNED_MEMBERS = ["stdout", "stderr", "exit", "reallyExit", "abort", "kill"];

/** What the tokens at `at` do to the process that embeds us; undefined if nothing. */
function sideEffect(tokens: readonly Token[], at: number): string | undefined {
  const { text } = tokens[at];
  if (text === "setFlagsFromString") return text;
  if (isMember(tokens, at)) return undefined;
  if (text === "console" && tokens[at + 1]?.text === ".") return textAt(tokens, at, 3);
  if (text !== "process") return undefined;
  const member = tokens[at + 2]?.text ?? "";
  if (BANNED_MEMBERS.includes(member)) return textAt(tokens, at, 3);
  const listens = ["on", "once", "addListener", "prependListener"].includes(member);
  const signal = /^["'`]SIG/.test(tokens[at + 4]?.text ?? "");
  return listens && signal ? textAt(tokens, at, 5) : undefined;
}

/** Outside the command line, src prints nothing and leaves the process alone. */
export const sideEffects: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    const layer = layerOf(file.path);
    if (layer === undefined || layer === "cli") continue;
    const report = (line: number, what: string): void => {
      const message = `${what} is for src/cli alone`;
      violations.push({ path: file.path, line, rule: "side-effects", message });
    };
    const { tokens } = scanOf(file);
    tokens.forEach((token, i) => {
      const what = token.kind === "word" ? sideEffect(tokens, i) : undefined;
      if (what === "setFlagsFromString" && file.path === SETS_FLAGS) return;
      if (what !== undefined) report(token.line, what);
    });
    for (const each of moduleOf(file).imports) {
      if (!/^(node:)?process$/.test(each.specifier)) continue;
      for (const { imported } of each.bindings) {
        if (BANNED_MEMBERS.includes(imported)) report(each.line, `process.${imported}`);
      }
    }
  }
  return violations;
};
