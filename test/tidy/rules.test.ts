/**
 * Does each rule find what it is for, and nothing else? Every rule is tried on trees of a few lines.
 */
import { describe, expect, it } from "vitest";
import { RULES, type RuleName } from "./rules/all.ts";
import { format } from "./rules/source.ts";
import { SNIPPETS } from "./snippets/all.ts";
import type { Snippet } from "./snippets/snippet.ts";

function violations(name: RuleName, { files }: Snippet): string[] {
  return RULES[name](Object.entries(files).map(([path, text]) => ({ path, text }))).map(format);
}

describe.each(Object.keys(RULES) as RuleName[])("%s", (name) => {
  const { fails, passes } = SNIPPETS[name];

  it.each(fails)("finds $name", (snippet) => {
    const found = violations(name, snippet);
    const places = found.map((each) => each.slice(0, each.indexOf(" ")));
    expect(places, found.join("\n")).toEqual(snippet.at);
    for (const each of found) expect(each).toContain(` ${name}: `);
  });

  it.each(passes)("accepts $name", (snippet) => {
    expect(violations(name, snippet)).toEqual([]);
  });
});
