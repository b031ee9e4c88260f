/**
 * scanner - TypeScript text to tokens and comments: just enough syntax that a rule never mistakes a
 * word in a string, a template, a regular expression or a comment for code.
 *
 * Limits. A slash after `)` is taken for a division, after `}` for a regular expression. Angle brackets
 * are not paired. A template is one token per stretch of text; the code in `${}` is code.
 */

export type TokenKind = "word" | "number" | "string" | "template" | "regex" | "punct";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly start: number;
  readonly line: number;
  /** Line on which the token ends: only templates have several. */
  readonly endLine: number;
}

export interface Comment {
  readonly text: string;
  readonly start: number;
  readonly line: number;
  readonly endLine: number;
}

export interface Scan {
  readonly tokens: readonly Token[];
  readonly comments: readonly Comment[];
  /** By token: the other bracket of the pair, or -1. */
  readonly match: readonly number[];
  /** By token: the bracket that is open around it, or -1. */
  readonly parent: readonly number[];
  /** First character of each line; line 1 is at [0]. */
  readonly lineStarts: readonly number[];
}

const SPACE = /\s+/y;
const WORD = /[A-Za-z_$#@\u0080-\uffff][\w$\u0080-\uffff]*/y;
const NUMBER = /\.?\d[\w.]*/y;
const STRING = /"(?:\\[\s\S]|[^"\\\n])*"?|'(?:\\[\s\S]|[^'\\\n])*'?/y;
const REGEX = /\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\/\w*/y;
const TEMPLATE = /(?:\\[\s\S]|\$(?!\{)|[^`\\$])*(?:`|\$\{)?/y;
const COMMENT = /\/\/[^\n]*|\/\*[\s\S]*?(?:\*\/|$)|^#![^\n]*/y;
const PUNCT = /=>|\+\+|--|\.\.\.|\?\.(?!\d)|&&=?|\|\|=?|\?\?=?|[=!]==?|[<>]=|[-+*%&|^]=|[\s\S]/y;

/** Tokens that their first character tells. */
const PLAIN: readonly (readonly [TokenKind, RegExp])[] = [
  ["string", STRING],
  ["word", WORD],
  ["number", NUMBER],
];

/** Words after which a slash begins a regular expression. */
const BEFORE_OPERAND = new Set(
  "return typeof case in of delete void throw new instanceof do else await yield".split(" "),
);

function at(pattern: RegExp, text: string, offset: number): string | undefined {
  pattern.lastIndex = offset;
  return pattern.exec(text)?.[0];
}

function lineStartsOf(text: string): number[] {
  const starts = [0];
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) starts.push(i + 1);
  return starts;
}

/** Number of the line, from 1, that holds the character at `offset`. */
export function lineAt(lineStarts: readonly number[], offset: number): number {
  let low = 0;
  let high = lineStarts.length;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (lineStarts[middle] <= offset) low = middle;
    else high = middle;
  }
  return low + 1;
}

/** Would an operand, not an operator, come after these tokens? */
function operandNext(tokens: readonly Token[]): boolean {
  const last = tokens.at(-1);
  if (last === undefined) return true;
  if (last.kind === "word") return BEFORE_OPERAND.has(last.text) && tokens.at(-2)?.text !== ".";
  if (last.kind === "template") return last.text.endsWith("${");
  if (last.kind !== "punct") return false;
  // Postfix `!` of TypeScript: the operand before it is complete.
  if (last.text === "!") return operandNext(tokens.slice(-3, -1));
  return !["++", "--", ")", "]"].includes(last.text);
}

class Scanner {
  readonly tokens: Token[] = [];
  readonly comments: Comment[] = [];
  readonly match: number[] = [];
  readonly parent: number[] = [];
  readonly lineStarts: number[];
  private readonly open: number[] = [];
  private offset = 0;
  private readonly text: string;

  constructor(text: string) {
    this.text = text;
    this.lineStarts = lineStartsOf(text);
  }

  run(): Scan {
    while (this.offset < this.text.length) this.step();
    return this;
  }

  private step(): void {
    const { text, offset } = this;
    const space = at(SPACE, text, offset);
    if (space !== undefined) {
      this.offset += space.length;
      return;
    }
    const comment = at(COMMENT, text, offset);
    if (comment !== undefined) {
      const line = lineAt(this.lineStarts, offset);
      const endLine = lineAt(this.lineStarts, offset + comment.length - 1);
      this.comments.push({ text: comment, start: offset, line, endLine });
      this.offset += comment.length;
      return;
    }
    this.token();
  }

  private token(): void {
    const { text, offset } = this;
    for (const [kind, pattern] of PLAIN) {
      const found = at(pattern, text, offset);
      if (found !== undefined) {
        this.push(kind, found);
        return;
      }
    }
    const regex = operandNext(this.tokens) ? at(REGEX, text, offset) : undefined;
    const inTemplate = this.tokens[this.open.at(-1) ?? -1]?.kind === "template";
    if (text[offset] === "`" || (text[offset] === "}" && inTemplate)) this.template();
    else if (regex !== undefined) this.push("regex", regex);
    else this.push("punct", at(PUNCT, text, offset) as string);
  }

  /** A stretch of template text; it begins with the back quote, or with the `}` that ends code. */
  private template(): void {
    const rest = at(TEMPLATE, this.text, this.offset + 1) ?? "";
    this.push("template", this.text[this.offset] + rest);
  }

  private push(kind: TokenKind, text: string): void {
    const index = this.tokens.length;
    const start = this.offset;
    const line = lineAt(this.lineStarts, start);
    const endLine = kind === "template" ? lineAt(this.lineStarts, start + text.length - 1) : line;
    this.match.push(-1);
    if (closes(kind, text)) {
      const opener = this.open.pop() ?? -1;
      this.match[index] = opener;
      if (opener >= 0) this.match[opener] = index;
    }
    this.parent.push(this.open.at(-1) ?? -1);
    if (opens(kind, text)) this.open.push(index);
    this.tokens.push({ kind, text, start, line, endLine });
    this.offset += text.length;
  }
}

function opens(kind: TokenKind, text: string): boolean {
  if (kind === "template") return text.endsWith("${");
  return kind === "punct" && (text === "(" || text === "[" || text === "{");
}

function closes(kind: TokenKind, text: string): boolean {
  if (kind === "template") return text.startsWith("}");
  return kind === "punct" && (text === ")" || text === "]" || text === "}");
}

export function scan(text: string): Scan {
  return new Scanner(text).run();
}

/** The text with every comment but `#!` blanked: for comparing with what a compiler sees. */
export function withoutComments(text: string): string {
  let result = "";
  let next = 0;
  for (const comment of scan(text).comments) {
    if (comment.text.startsWith("#!")) continue;
    result += text.slice(next, comment.start) + comment.text.replace(/[^\n]/g, " ");
    next = comment.start + comment.text.length;
  }
  return result + text.slice(next);
}
