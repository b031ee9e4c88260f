/**
 * Does this repository keep the law (docs/STYLE.md)? One test for each rule, over every file.
 */
import { fileURLToPath } from "node:url";
import { transformSync } from "esbuild";
import { describe, expect, it } from "vitest";
import { RULES, type RuleName } from "./rules/all.ts";
import { exists, GENERATORS, staleOutput } from "./rules/generated.ts";
import { withoutComments } from "./rules/scanner.ts";
import { format, type Violation } from "./rules/source.ts";
import { readTree } from "./rules/tree.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const tree = readTree(ROOT);

function expectNone(violations: readonly Violation[]): void {
  const report = violations.map(format).join("\n");
  expect(violations.length, `violations of docs/STYLE.md:\n${report}\n`).toBe(0);
}

describe("the tree", () => {
  it.each(Object.keys(RULES) as RuleName[])("keeps the rule %s", (name) => {
    expectNone(RULES[name](tree));
  });

  it.each(GENERATORS.filter((each) => exists(ROOT, each)))("%s has fresh output", (generator) => {
    expectNone(staleOutput(ROOT, generator));
  });

  it("is read as the compiler reads it: what is taken for a comment is one", () => {
    const compile = (text: string): string =>
      transformSync(text, { loader: "ts", minifyWhitespace: true, legalComments: "none" }).code;
    for (const { path, text } of tree) {
      if (path.startsWith("native-free-wasm/assembly/")) continue;
      expect(compile(withoutComments(text)), path).toBe(compile(text));
    }
  });
});
