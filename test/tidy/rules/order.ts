/**
 * order - every ordered access names its partner, and the partner names it back.
 *
 * A tag begins a comment line and goes on until the next tag, an empty line or the end of the comment:
 *
 *   ORDER name arrow partner[, partner...][: reason]
 *
 * In a file's header such lines are a summary: they define nothing, but what they name must exist.
 */
import { ORDERED, Placement, RACY, type SeamCall, seamCalls } from "./calls.ts";
import { SEAM } from "./seam.ts";
import { layerOf, type Rule, type SourceFile, type Violation } from "./source.ts";
import type { CommentBlock } from "./syntax.ts";

type Arrow = "->" | "<-" | "<->";

interface Tag {
  readonly path: string;
  readonly line: number;
  readonly name: string;
  readonly arrow: Arrow;
  readonly partners: readonly string[];
  readonly reason: string;
}

const NAME = "[a-z][A-Za-z0-9-]*\\.[a-z][A-Za-z0-9-]*";
const NAMES = `${NAME}(?:\\s*,\\s*${NAME})*`;
const PAIR = `(${NAME})\\s+(->|<->|<-)\\s+(${NAMES})`;
/** Behind the partners: the reason after a colon, or prose from the next line on. */
const TAG = new RegExp(`^ORDER\\s+${PAIR}(\\s*:[\\s\\S]*|\\n[\\s\\S]*)?$`);
const PAIRS = new RegExp(PAIR, "g");
/** "as pte.cas": the reason is that of another tag. */
const SAME = new RegExp(`^as (${NAME})\\b`);
/** One word is no reason. */
const LEAST_WORDS = 2;

interface Paragraph {
  readonly line: number;
  readonly text: string;
}

/** The stretches of a comment that begin with `word`; one ends where another kind begins. */
function paragraphs(block: CommentBlock, word: string): Paragraph[] {
  const found: { line: number; text: string }[] = [];
  let open = false;
  for (const { line, text } of block.lines) {
    if (new RegExp(`^${word}\\b`).test(text)) {
      found.push({ line, text });
      open = true;
    } else if (text === "" || /^[A-Z]{4,}\b|^@\w/.test(text)) {
      open = false;
    } else if (open) {
      found[found.length - 1].text += `\n${text}`;
    }
  }
  return found;
}

function isReason(reason: string): boolean {
  return reason.split(/\s+/).length >= LEAST_WORDS && !/\bfor safety\b/i.test(reason);
}

function parseTag(path: string, { line, text }: Paragraph): Tag | undefined {
  const match = TAG.exec(text);
  if (match === null) return undefined;
  const rest = match[4]?.trim() ?? "";
  return {
    path,
    line,
    name: match[1],
    arrow: match[2] as Arrow,
    partners: match[3].split(",").map((each) => each.trim()),
    reason: rest.startsWith(":") ? rest.slice(1).trim() : "",
  };
}

function violation(path: string, line: number, message: string): Violation {
  return { path, line, rule: "order", message };
}

const FITTING: Readonly<Record<Arrow, readonly Arrow[]>> = {
  "->": ["<-", "<->"],
  "<-": ["->", "<->"],
  "<->": ["->", "<-", "<->"],
};

/** Each name once, each partner there, and each pair in agreement. */
function checkPairs(tags: readonly Tag[]): Violation[] {
  const violations: Violation[] = [];
  const byName = new Map<string, Tag>();
  for (const tag of tags) {
    const first = byName.get(tag.name);
    if (first === undefined) byName.set(tag.name, tag);
    else {
      const message = `${tag.name} is defined already, in ${first.path}:${first.line}`;
      violations.push(violation(tag.path, tag.line, message));
    }
  }
  for (const { path, line, name, arrow, partners, reason } of tags) {
    const report = (message: string): void => {
      violations.push(violation(path, line, message));
    };
    if (arrow !== "<-" && !isReason(reason)) {
      report(`${name} needs a reason after a colon: what goes wrong without it`);
    }
    const same = SAME.exec(reason)?.[1];
    if (same !== undefined && !byName.has(same)) {
      report(`${name} has the reason of ${same}, which no tag defines`);
    }
    for (const partner of partners) {
      const other = byName.get(partner);
      if (other === undefined) {
        report(`${name} names ${partner}, which no tag defines`);
        continue;
      }
      const where = `${other.path}:${other.line}`;
      if (!other.partners.includes(name)) {
        report(`${name} names ${partner}, which does not name it back (${where})`);
      }
      if (!FITTING[arrow].includes(other.arrow)) {
        report(`${name} ${arrow} ${partner}, but ${partner} is a ${other.arrow} (${where})`);
      }
    }
  }
  return violations;
}

interface FileTags {
  readonly tags: readonly Tag[];
  /** What the header mentions. */
  readonly listed: readonly { readonly line: number; readonly name: string }[];
  readonly violations: readonly Violation[];
}

function listedNames(block: CommentBlock): { line: number; name: string }[] {
  const names: { line: number; name: string }[] = [];
  for (const { line, text } of paragraphs(block, "ORDER")) {
    for (const match of text.matchAll(PAIRS)) {
      for (const name of [match[1], ...match[3].split(",")])
        names.push({ line, name: name.trim() });
    }
  }
  return names;
}

function tagsOf(file: SourceFile): FileTags {
  const placement = new Placement(file);
  const violations: Violation[] = [];
  const tags: Tag[] = [];
  const listed: { line: number; name: string }[] = [];
  const tagged = new Map<CommentBlock, Tag[]>();
  for (const block of placement.blocks) {
    if (placement.isHeader(block)) {
      listed.push(...listedNames(block));
      continue;
    }
    for (const paragraph of paragraphs(block, "ORDER")) {
      const tag = parseTag(file.path, paragraph);
      if (tag === undefined) {
        const message = "not of the form: ORDER word.event -> word.event[, ...]: reason";
        violations.push(violation(file.path, paragraph.line, message));
        continue;
      }
      tags.push(tag);
      tagged.set(block, [...(tagged.get(block) ?? []), tag]);
    }
  }
  const served = new Set<CommentBlock>();
  for (const call of seamCalls(file, ORDERED)) {
    const blocks = placement.above(call).filter((block) => tagged.has(block));
    for (const block of blocks) served.add(block);
    const message = faultOf(call, blocks.length > 0, "an ORDER tag");
    if (message !== undefined) violations.push(violation(file.path, call.line, message));
  }
  for (const [block, idle] of tagged) {
    if (served.has(block)) continue;
    for (const { line, name } of idle) {
      violations.push(violation(file.path, line, `${name} stands above no ordered access`));
    }
  }
  return { tags, listed, violations };
}

function faultOf(call: SeamCall, tagged: boolean, what: string): string | undefined {
  if (!call.called) return `${call.name} is called where it is needed, never passed on`;
  return tagged ? undefined : `${call.name} stands below no comment with ${what}`;
}

function isUser(file: SourceFile): boolean {
  return layerOf(file.path) !== undefined && file.path !== SEAM;
}

export const order: Rule = (files) => {
  const users = files.filter(isUser).map((file) => ({ path: file.path, ...tagsOf(file) }));
  const tags = users.flatMap((each) => each.tags);
  const names = new Set(tags.map((tag) => tag.name));
  const violations = users.flatMap((each) => each.violations);
  violations.push(...checkPairs(tags));
  for (const { path, listed } of users) {
    for (const { line, name } of listed) {
      if (names.has(name)) continue;
      violations.push(violation(path, line, `the header lists ${name}, which no tag defines`));
    }
  }
  return violations;
};

export const racy: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    if (!isUser(file)) continue;
    const report = (line: number, message: string): void => {
      violations.push({ path: file.path, line, rule: "racy", message });
    };
    const placement = new Placement(file);
    const reasons = (block: CommentBlock): Paragraph[] => paragraphs(block, "RACY");
    for (const { line, text } of placement.blocks.flatMap(reasons)) {
      const reason = /^RACY:([\s\S]*)$/.exec(text)?.[1].trim() ?? "";
      if (!isReason(reason)) {
        report(line, "RACY: says why any value will do and where it is checked again");
      }
    }
    for (const call of seamCalls(file, RACY)) {
      const found = placement.above(call).some((block) => reasons(block).length > 0);
      const message = faultOf(call, found, "RACY:");
      if (message !== undefined) report(call.line, message);
    }
  }
  return violations;
};
