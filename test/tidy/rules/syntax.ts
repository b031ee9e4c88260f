/**
 * syntax - what the rules ask of the tokens: which comments stand directly above something, and where
 * functions begin and end.
 */
import type { Scan } from "./scanner.ts";

/** Comments on lines of their own that follow each other without a gap. */
export interface CommentBlock {
  readonly line: number;
  readonly endLine: number;
  /** Is one of them a doc comment? */
  readonly doc: boolean;
  /** Without the comment marks. */
  readonly lines: readonly { readonly line: number; readonly text: string }[];
}

function commentLines(text: string, line: number): { line: number; text: string }[] {
  const body = text.replace(/^\/\*\*?|^\/\/|\*\/$/g, "");
  return body.split("\n").map((each, i) => ({
    line: line + i,
    text: (i === 0 ? each : each.replace(/^\s*\*(?!\/)/, "")).trim(),
  }));
}

export function commentBlocks(scan: Scan): CommentBlock[] {
  const used = new Set<number>();
  for (const token of scan.tokens) {
    for (let line = token.line; line <= token.endLine; line++) used.add(line);
  }
  const blocks: CommentBlock[] = [];
  for (const comment of scan.comments) {
    if (used.has(comment.line) || used.has(comment.endLine)) continue;
    const lines = commentLines(comment.text, comment.line);
    const doc = comment.text.startsWith("/**");
    const last = blocks.at(-1);
    if (last?.endLine === comment.line - 1) {
      blocks[blocks.length - 1] = {
        line: last.line,
        endLine: comment.endLine,
        doc: last.doc || doc,
        lines: [...last.lines, ...lines],
      };
    } else {
      blocks.push({ line: comment.line, endLine: comment.endLine, doc, lines });
    }
  }
  return blocks;
}

/** Tokens after which `{` begins an object, a type or a pattern and not a block. */
const BEFORE_OBJECT = new Set([
  ..."( [ , = == === != !== : ? | & || && ?? ??= ||= &&= ... < + -".split(" "),
  ..."return const let var import export type as satisfies in of throw yield await".split(" "),
]);

/** Does the `{` at `open` begin statements or members? */
export function isBlock(scan: Scan, open: number): boolean {
  const { tokens } = scan;
  if (tokens[open].text !== "{") return false;
  const before = tokens[open - 1];
  if (before === undefined) return true;
  if (before.text === ":") return isLabel(scan, open - 1);
  return !BEFORE_OBJECT.has(before.text);
}

/** Is the colon that of `case x:` or `default:`, on one line? */
function isLabel(scan: Scan, colon: number): boolean {
  const { tokens, parent } = scan;
  for (let i = colon - 1; i >= 0 && tokens[i].line === tokens[colon].line; i--) {
    if (parent[i] !== parent[colon]) continue;
    if (tokens[i].text === "case" || tokens[i].text === "default") return true;
  }
  return false;
}

/** The token before `index` that belongs to the same statement, or -1 where the statement begins. */
function stepBack(scan: Scan, index: number): number {
  const { tokens, match, parent } = scan;
  const before = index - 1;
  if (before < 0) return -1;
  const text = tokens[before].text;
  if (before === parent[index]) return isBlock(scan, before) ? -1 : before;
  if (text === ";") return tokens[parent[index]]?.text === "(" ? before : -1;
  if (match[before] < 0 || match[before] > before) {
    // A member of an object belongs to the statement that holds the object.
    const outer = parent[index];
    const inObject = text === "," && tokens[outer]?.text === "{" && !isBlock(scan, outer);
    return inObject ? outer : before;
  }
  if (text === "}" && isBlock(scan, match[before])) {
    const joined = ["else", "catch", "finally"].includes(tokens[index].text);
    const looped = tokens[index].text === "while" && tokens[match[before] - 1]?.text === "do";
    return joined || looped ? match[before] : -1;
  }
  return match[before];
}

/** The comment blocks that end directly above the statement of a token, or above a line of it. */
export function blocksAbove(
  scan: Scan,
  blocks: readonly CommentBlock[],
  index: number,
): CommentBlock[] {
  const ends = new Map(blocks.map((block) => [block.endLine, block]));
  const found = new Set<CommentBlock>();
  for (let i = index; i >= 0; i = stepBack(scan, i)) {
    const block = ends.get(scan.tokens[i].line - 1);
    const first = i === 0 || scan.tokens[i - 1].endLine < scan.tokens[i].line;
    if (block !== undefined && first) found.add(block);
  }
  return [...found];
}

export interface FunctionSpan {
  readonly name: string;
  /** Tokens: the name or the parameters, the body's `{`, and its `}`. */
  readonly start: number;
  readonly open: number;
  readonly close: number;
}

const CONTROL = new Set("if for while switch catch with await".split(" "));
const NOT_A_TYPE = new Set(
  "return if for while do switch throw const let var break continue case default new".split(" "),
);
const TYPE_CONTINUES = new Set(
  "| & => . is keyof readonly typeof asserts extends ? : <".split(" "),
);
const TYPE_ENDS = new Set("; , = ) ] }".split(" "));

/** The `{` of the body behind a return type that begins at token `from`, or -1. */
function bodyAfterType(scan: Scan, from: number): number {
  const { tokens, match } = scan;
  let operand = true;
  let angles = 0;
  for (let i = from; i < tokens.length; i++) {
    const { text } = tokens[i];
    if (text === "<") angles++;
    if (text === ">") angles--;
    if (NOT_A_TYPE.has(text)) return -1;
    if (TYPE_ENDS.has(text) && angles <= 0) return -1;
    if (text === "=>" && tokens[i + 1]?.text === "{" && tokens[i - 1].text !== ")") return -1;
    if (text === "{" && !operand && angles <= 0) return i;
    if (match[i] > i) i = match[i];
    operand = TYPE_CONTINUES.has(text) || (text === "," && angles > 0);
  }
  return -1;
}

/** First token of the arrow function whose `=>` is at `arrow`: its parameters. */
function arrowStart(scan: Scan, arrow: number): number {
  const { tokens, match } = scan;
  for (let i = arrow - 1; i >= 0; i--) {
    const { text } = tokens[i];
    if ("; { , = (".split(" ").includes(text)) break;
    if (text === ")" && ["=>", ":"].includes(tokens[i + 1].text)) return match[i];
    if (match[i] >= 0 && match[i] < i) i = match[i];
  }
  return arrow - 1;
}

/** The word before the `(` of parameters, without type parameters. */
function nameBefore(scan: Scan, open: number): string {
  const { tokens } = scan;
  let angles = 0;
  for (let i = open - 1; i >= 0; i--) {
    const { text } = tokens[i];
    if (text === ">") angles++;
    else if (text === "<") angles--;
    else if (angles <= 0) return text;
  }
  return "";
}

/** Every function with a block body, outermost first. */
export function functionsOf(scan: Scan): FunctionSpan[] {
  const { tokens, match } = scan;
  const found: FunctionSpan[] = [];
  const add = (name: string, start: number, open: number): void => {
    if (open >= 0 && match[open] > open) found.push({ name, start, open, close: match[open] });
  };
  for (let i = 0; i < tokens.length; i++) {
    const { text, kind } = tokens[i];
    if (kind !== "punct") continue;
    if (text === "=>" && tokens[i + 1]?.text === "{") {
      const start = Math.max(0, arrowStart(scan, i));
      const before = tokens[start - 1]?.text === "async" ? start - 2 : start - 1;
      const named = tokens[before]?.text === "=" || tokens[before]?.text === ":";
      add(named ? tokens[before - 1].text : "an arrow function", start, i + 1);
    }
    if (text !== "(" || i === 0 || match[i] < 0) continue;
    const before = tokens[i - 1];
    if (CONTROL.has(before.text) && tokens[i - 2]?.text !== ".") continue;
    if (before.kind === "punct" && before.text !== ">" && before.text !== "]") continue;
    const after = tokens[match[i] + 1]?.text;
    if (after === "{") add(nameBefore(scan, i), i - 1, match[i] + 1);
    if (after === ":") add(nameBefore(scan, i), i - 1, bodyAfterType(scan, match[i] + 2));
  }
  return found;
}
