/**
 * modules - the import and export statements of a file.
 *
 * Limits. Of `export const a = 1, b = 2` only `a` is seen. An import whose specifier is computed is not
 * seen.
 */
import { posix } from "node:path";
import type { Scan } from "./scanner.ts";
import { type SourceFile, scanOf } from "./source.ts";

export interface Binding {
  /** The name in the other file; "*" for all of them. */
  readonly imported: string;
  /** The name here. */
  readonly local: string;
}

export interface Import {
  readonly line: number;
  readonly specifier: string;
  /**
   * Nothing remains of it at run time. `import { type A }` is not of this kind: the compiler
   * (verbatimModuleSyntax) leaves `import {}`, which loads the file.
   */
  readonly typeOnly: boolean;
  /** An `export ... from`. */
  readonly reexport: boolean;
  readonly bindings: readonly Binding[];
}

export interface Export {
  readonly line: number;
  readonly name: string;
}

export interface Module {
  readonly imports: readonly Import[];
  readonly exports: readonly Export[];
}

const ALL: Binding = { imported: "*", local: "" };
const DECLARATORS = new Set(
  "function const let var class interface type enum namespace".split(" "),
);
const MODIFIERS = new Set("declare abstract async default *".split(" "));

function unquote(text: string): string {
  return text.slice(1, -1);
}

/** The specifiers between `{` at `open` and its `}`. */
function specifiers(scan: Scan, open: number): Binding[] {
  const { tokens, match } = scan;
  const bindings: Binding[] = [];
  let words: string[] = [];
  for (let i = open + 1; i <= match[open]; i++) {
    const { text, kind } = tokens[i];
    if (kind === "punct") {
      if (words.length > 1 && words[0] === "type" && words[1] !== "as") words = words.slice(1);
      if (words.length > 0) bindings.push({ imported: words[0], local: words.at(-1) as string });
      words = [];
    } else {
      words.push(text);
    }
  }
  return bindings;
}

/** An `import` or `export ... from` that begins at token `at`; undefined if it is neither. */
function statement(scan: Scan, at: number): Import | undefined {
  const { tokens, match } = scan;
  const { line } = tokens[at];
  const reexport = tokens[at].text === "export";
  let next = at + 1;
  const typeOnly = tokens[next]?.text === "type" && /^[{*\w]/.test(tokens[next + 1]?.text ?? "");
  if (typeOnly) next++;
  const bindings: Binding[] = [];
  for (; next < tokens.length; next++) {
    const { text, kind } = tokens[next];
    if (kind === "string") {
      return { line, specifier: unquote(text), typeOnly, reexport, bindings };
    }
    if (text === "{") {
      bindings.push(...specifiers(scan, next));
      next = match[next];
      if (next < 0) return undefined;
      if (tokens[next + 1]?.text !== "from") return undefined;
    } else if (text === "*") {
      const named = tokens[next + 1]?.text === "as" && !reexport;
      bindings.push(named ? { ...ALL, local: tokens[next + 2].text } : ALL);
      if (tokens[next + 1]?.text === "as") next += 2;
    } else if (kind === "word" && !reexport) {
      if (text !== "from") bindings.push({ imported: "default", local: text });
    } else if (text !== "," && text !== "from") {
      return undefined;
    }
  }
  return undefined;
}

/** The names that an `export` at token `at` declares. */
function exportsAt(scan: Scan, at: number): Export[] {
  const { tokens } = scan;
  const { line } = tokens[at];
  let next = at + 1;
  if (tokens[next]?.text === "type" && tokens[next + 1]?.text === "{") next++;
  if (tokens[next]?.text === "{") {
    return specifiers(scan, next).map(({ local }) => ({ line, name: local }));
  }
  if (tokens[next]?.text === "*") {
    return tokens[next + 1]?.text === "as" ? [{ line, name: tokens[next + 2].text }] : [];
  }
  if (tokens[next]?.text === "default") return [{ line, name: "default" }];
  while (MODIFIERS.has(tokens[next]?.text)) next++;
  if (tokens[next]?.text === "const" && tokens[next + 1]?.text === "enum") next++;
  if (!DECLARATORS.has(tokens[next]?.text)) return [];
  next++;
  if (tokens[next]?.text === "*") next++;
  if (tokens[next]?.text === "{") {
    return specifiers(scan, next).map(({ local }) => ({ line, name: local }));
  }
  return [{ line, name: tokens[next].text }];
}

/** `import("x")` and `new URL("x", ...)` at token `at`: the whole of x is used. */
function deferred(scan: Scan, at: number): Import | undefined {
  const { tokens } = scan;
  const target = tokens[at + 2];
  if (tokens[at + 1]?.text !== "(" || target?.kind !== "string") return undefined;
  const { line } = tokens[at];
  return {
    line,
    specifier: unquote(target.text),
    typeOnly: tokens[at].text === "URL",
    reexport: false,
    bindings: [ALL],
  };
}

const modules = new WeakMap<SourceFile, Module>();

export function moduleOf(file: SourceFile): Module {
  const known = modules.get(file);
  if (known !== undefined) return known;
  const scan = scanOf(file);
  const { tokens } = scan;
  const imports: Import[] = [];
  const exports: Export[] = [];
  for (let i = 0; i < tokens.length; i++) {
    const { kind, text } = tokens[i];
    if (kind !== "word" || tokens[i - 1]?.text === ".") continue;
    const called = tokens[i + 1]?.text === "(";
    let found: Import | undefined;
    if (text === "import" && tokens[i + 1]?.text !== ".") {
      found = called ? deferred(scan, i) : statement(scan, i);
    } else if (text === "export") {
      found = statement(scan, i);
      exports.push(...exportsAt(scan, i));
    } else if (text === "URL" && tokens[i - 1]?.text === "new") {
      found = deferred(scan, i);
      if (found !== undefined && !/^\..*\.[mc]?[jt]s$/.test(found.specifier)) found = undefined;
    }
    if (found !== undefined) imports.push(found);
  }
  const module = { imports, exports };
  modules.set(file, module);
  return module;
}

/**
 * The file that `specifier` means in `from`, as a path in the repository; undefined for a package.
 * What is built counts as its source: dist/x.js is src/x.ts, "pagefold" is src/index.ts.
 */
export function resolve(from: string, specifier: string): string | undefined {
  if (specifier === "pagefold") return "src/index.ts";
  if (!specifier.startsWith(".")) return undefined;
  const path = posix.join(posix.dirname(from), specifier);
  return path.replace(/^dist\//, "src/").replace(/\.js$/, ".ts");
}
