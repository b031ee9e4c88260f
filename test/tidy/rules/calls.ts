/**
 * calls - the calls of seam functions in a file, and the comments that stand above them.
 */
import { moduleOf, resolve } from "./modules.ts";
import type { Scan } from "./scanner.ts";
import { SEAM } from "./seam.ts";
import { type SourceFile, scanOf } from "./source.ts";
import {
  blocksAbove,
  type CommentBlock,
  commentBlocks,
  type FunctionSpan,
  functionsOf,
} from "./syntax.ts";

export const ORDERED = new Set(
  "loadWord storeWord addWord orWord exchangeWord casWord waitWord notifyWord".split(" "),
);
export const ORDERED_WRITES = new Set("storeWord addWord orWord exchangeWord casWord".split(" "));
export const RACY = new Set("racyLoad racyStore racyLoadByte racyStoreByte".split(" "));

export interface SeamCall {
  /** The name in the seam, whatever it is called here. */
  readonly name: string;
  readonly line: number;
  /** Token of the name. */
  readonly index: number;
  /** False where the function is mentioned, not called: passed on or given another name. */
  readonly called: boolean;
}

/** Names here -> names in the seam; a namespace import is `ns.`. */
function seamNames(file: SourceFile): Map<string, string> {
  const names = new Map<string, string>();
  for (const each of moduleOf(file).imports) {
    if (each.reexport || resolve(file.path, each.specifier) !== SEAM) continue;
    for (const { imported, local } of each.bindings) {
      names.set(imported === "*" ? `${local}.` : local, imported);
    }
  }
  return names;
}

/** The tokens of import statements, where a name is neither called nor mentioned. */
function importTokens(scan: Scan): Set<number> {
  const { tokens } = scan;
  const inside = new Set<number>();
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i].text !== "import" || ["(", "."].includes(tokens[i + 1]?.text ?? "")) continue;
    for (; i < tokens.length && tokens[i].kind !== "string"; i++) inside.add(i);
  }
  return inside;
}

/** Every use of the seam functions in `wanted`. */
export function seamCalls(file: SourceFile, wanted: ReadonlySet<string>): SeamCall[] {
  const names = seamNames(file);
  if (names.size === 0) return [];
  const scan = scanOf(file);
  const { tokens } = scan;
  const skipped = importTokens(scan);
  const calls: SeamCall[] = [];
  tokens.forEach(({ kind, text, line }, index) => {
    if (kind !== "word" || skipped.has(index)) return;
    const member = tokens[index - 1]?.text === ".";
    const ofSeam = member && names.has(`${tokens[index - 2]?.text}.`);
    const name = ofSeam ? text : member ? undefined : names.get(text);
    if (name === undefined || !wanted.has(name)) return;
    const next = tokens[index + 1]?.text;
    if (next === ":" && ["{", ","].includes(tokens[index - 1]?.text ?? "")) return;
    calls.push({ name, line, index, called: next === "(" });
  });
  return calls;
}

/** The comments of a file, and where the seam's rules look for them. */
export class Placement {
  readonly blocks: readonly CommentBlock[];
  private readonly scan: Scan;
  private readonly functions: readonly FunctionSpan[];
  private readonly lines: readonly string[];

  constructor(file: SourceFile) {
    this.scan = scanOf(file);
    this.lines = file.text.split("\n");
    this.blocks = commentBlocks(this.scan);
    this.functions = functionsOf(this.scan);
  }

  /** Is there neither a blank line nor the end of a function between the lines? */
  private isOneParagraph(from: number, to: number): boolean {
    for (let line = from; line < to; line++) {
      const text = this.lines[line] ?? "";
      if (text.trim() === "" || text.startsWith("}")) return false;
    }
    return true;
  }

  /** The file's header is not a comment of anything: it lists, it does not define. */
  isHeader(block: CommentBlock): boolean {
    return block.doc && block.line === 1;
  }

  /**
   * The comments that may carry the tags of a call: those above it in its paragraph (up to a blank line),
   * directly above its statement, and the doc comments of the functions that contain it.
   */
  above(call: SeamCall): CommentBlock[] {
    const { scan, blocks, functions } = this;
    const found = blocksAbove(scan, blocks, call.index);
    for (const block of blocks) {
      if (block.endLine < call.line && this.isOneParagraph(block.endLine, call.line))
        found.push(block);
    }
    for (const { start, open, close } of functions) {
      if (call.index <= open || call.index >= close) continue;
      found.push(...blocksAbove(scan, blocks, start).filter((block) => block.doc));
    }
    return found.filter((block) => !this.isHeader(block));
  }
}
