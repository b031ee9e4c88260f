/**
 * Are strings, templates, regular expressions and comments told from code? Are functions found?
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the snippets are about templates.
import { describe, expect, it } from "vitest";
import { scan } from "./rules/scanner.ts";
import { functionsOf } from "./rules/syntax.ts";

/** The tokens, those that hold text by kind only. */
function tokens(text: string): string {
  const opaque = ["string", "template", "regex"];
  return scan(text)
    .tokens.map((token) => (opaque.includes(token.kind) ? token.kind : token.text))
    .join(" ");
}

describe("scan", () => {
  it.each([
    ["a / b / c", "a / b / c"],
    ["a = /b'\\/[/]/g.test(c)", "a = regex . test ( c )"],
    ["f(/x/) / 2", "f ( regex ) / 2"],
    ["x! / 2 / y", "x ! / 2 / y"],
    ["!/x/.test(y)", "! regex . test ( y )"],
    ["return /'/", "return regex"],
    ["i++ / 2 // '", "i ++ / 2"],
    [
      "`a ${b + `c ${d}` + { e: 1 }.e} // f`; g",
      "template b + template d template + { e : 1 } . e template ; g",
    ],
    ["`$ \\${ \\` $${a}`", "template a template"],
    ["'//' + \"/*\" /* ' */ + `//`", "string + string + template"],
    ["'it\\'s' + \"\\\"\"", "string + string"],
    ["#!/usr/bin/env node\nx", "x"],
    ["a?.b ?? 1_000 => x", "a ?. b ?? 1_000 => x"],
    ["a ? .5 : 0x1f", "a ? .5 : 0x1f"],
    ["class A { #b = 1 }", "class A { #b = 1 }"],
  ])("%s", (text, expected) => {
    expect(tokens(text)).toBe(expected);
  });

  it("pairs brackets, and knows lines", () => {
    const { tokens, match, parent, comments } = scan("f(\n  [1], // c\n  `${{}}\n`);");
    const index = (text: string): number => tokens.findIndex((token) => token.text === text);
    expect(match[index("(")]).toBe(index(")"));
    expect(parent[index("[")]).toBe(index("("));
    expect(tokens[index(")")].line).toBe(4);
    expect(comments).toEqual([{ text: "// c", start: 10, line: 2, endLine: 2 }]);
  });
});

describe("functionsOf", () => {
  it.each([
    ["function f() {}", ["f"]],
    ["function f(a: number): { b: number } | undefined {}", ["f"]],
    ["function f(a: unknown): asserts a is string {}", ["f"]],
    ["export async function* f<T>(): AsyncIterable<{ a: T }, void> {}", ["f"]],
    ["function f(): number; function f(): void;", []],
    ["const f = (a) => {}; const g = async a => {}; const h = () => 1;", ["f", "g"]],
    ["f((a): Promise<void> => {})", ["an arrow function"]],
    [
      "class A { constructor(a) {} get b(): number { return 1; } [c]() {} }",
      ["constructor", "b", "]"],
    ],
    ["if (a) {} for (;;) {} while (f(a)) {} switch (a) { case f(b): { } }", []],
    ["const a = b ? f(c) : { d: 1 }; { }", []],
    ["interface A { f(a: number): void; g(): { h: 1 } }", []],
  ])("%s", (text, names) => {
    expect(functionsOf(scan(text)).map((span) => span.name)).toEqual(names);
  });
});
