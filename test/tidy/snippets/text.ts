/**
 * snippets of sizes, headers and banned-words.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the snippets are about templates.
import type { Snippets } from "./snippet.ts";

function lines(count: number, text: string): string {
  return `${text}\n`.repeat(count);
}

const WIDE = "x".repeat(98);
const COMMENT = "c".repeat(117);
const LONG = lines(80, "x;");

export const sizes: Snippets = {
  fails: [
    {
      name: "a file of 501 lines",
      files: { "test/a.test.ts": lines(501, "x;") },
      at: ["test/a.test.ts:501"],
    },
    {
      name: "functions of 71 lines, of every kind",
      files: {
        "src/mm/a.ts": `function a(): { x: number } {\n${lines(69, "x;")}}`,
        "src/mm/b.ts": `const b = async (\n  x: X<Y, Z>,\n): Promise<X> => {\n${lines(67, "x;")}};`,
        "bench/c.mjs": `class C {\n  static c<T>(t) {\n${lines(69, "x;")}}\n}`,
        "native-free-wasm/d.mjs": `it("d", () => {\n${lines(69, "`${{}}`;")}});`,
      },
      at: ["src/mm/a.ts:1", "src/mm/b.ts:1", "bench/c.mjs:2", "native-free-wasm/d.mjs:1"],
    },
    {
      name: "code beyond column 100, comments beyond column 120",
      files: {
        "src/mm/a.ts": `// ${COMMENT}\n// ${COMMENT}c\nf(${WIDE});\n"${WIDE} "; // c`,
        "src/mm/b.ts": `/*\n${"c".repeat(121)}\n*/\nlet x = 1; // ${"c".repeat(107)}`,
      },
      at: ["src/mm/a.ts:2", "src/mm/a.ts:3", "src/mm/b.ts:2", "src/mm/b.ts:4"],
    },
  ],
  passes: [
    {
      name: "everything at its limit",
      files: {
        "src/mm/a.ts": lines(500, "x;"),
        "src/mm/b.ts": `function a(): void {\n${lines(68, "// } {")}}\nf${WIDE};\n// ${COMMENT}`,
        "src/mm/c.ts": `let x = 1; // ${"c".repeat(106)}`,
      },
    },
    {
      name: "chapters of a test, types, and control flow",
      files: {
        "test/a.test.ts": `describe("a", () => {\n${LONG}});`,
        "test/b.test.ts": `describe.each([1])("b", (b) => {\n${LONG}});`,
        "src/mm/a.ts": `if (x) {\n${LONG}}\nconst t = a ? f(b) : {\n${lines(80, "  c,")}};`,
        "docs/a.ts": lines(600, "x;"),
      },
    },
  ],
};

const WRITER = 'import { storeWord } from "../base/atomics.js";\nstoreWord(w, 0, 1);\n';
const MODEL = "test/model/lock.test.ts";

function header(...sections: string[]): string {
  return [
    "/**",
    " * lock - who may change.",
    ...sections.map((each) => ` * ${each}`),
    " */\n",
  ].join("\n");
}

const FULL = header("OWNS    lock", "INVARIANTS", "  LOCK-1  one owner", `MODEL   ${MODEL}`);

export const headers: Snippets = {
  fails: [
    {
      name: "no header, a header later, or the name of another file",
      files: {
        "src/mm/a.ts": "export {};",
        "src/mm/b.ts": 'import "./a.js";\n/** b - too late. */',
        "src/machine/c.ts": "/** d - another. */",
        "src/base/d.ts": "// d - no doc comment",
      },
      at: ["src/mm/a.ts:1", "src/mm/b.ts:1", "src/machine/c.ts:1", "src/base/d.ts:1"],
    },
    {
      name: "a file that writes words and says nothing about them",
      files: { "src/mm/lock.ts": header("RANK 1") + WRITER },
      at: ["src/mm/lock.ts:1", "src/mm/lock.ts:1", "src/mm/lock.ts:1"],
    },
    {
      name: "a model test that does not exist, or is not named",
      files: {
        "src/ksm/lock.ts": FULL + WRITER,
        "src/mm/lock.ts": FULL.replace(MODEL, "later") + WRITER,
      },
      at: ["src/ksm/lock.ts:6", "src/mm/lock.ts:6"],
    },
  ],
  passes: [
    {
      name: "headers in full, and those of files that own no word",
      files: {
        "src/mm/lock.ts": FULL + WRITER,
        [MODEL]: "",
        "src/mm/a.ts": "/** a - only reads. */",
        "src/machine/lock.ts": header() + WRITER,
        "src/cli/main.ts": "#!/usr/bin/env node\n/**\n * main - a command.\n */",
        "src/index.ts": "export {};",
        "src/wasm.d.ts": "declare namespace A {}",
      },
    },
  ],
};

const BAD = [
  `// ${"TO"}DO: later`,
  `// ${"FIX"}ME`,
  `// ${"for"} now`,
  `throw new Error("${"Not"} implemented");`,
  `it${".only"}("x", f);`,
  `describe${".skip"}.each([1]);`,
  `readFile("${"/wo"}rk/main/x");`,
  `cd("C:${"\\"}Users");`,
  `fetch("https://${"npm"}js.com/x");`,
  `// from ${"registry"}.example.org`,
];

export const bannedWords: Snippets = {
  fails: [
    {
      name: "each of them",
      files: { "test/a.test.ts": BAD.join("\n") },
      at: BAD.map((_, i) => `test/a.test.ts:${i + 1}`),
    },
  ],
  passes: [
    {
      name: "what only looks like them",
      files: {
        "src/mm/a.ts": [
          'it.skipIf(x)("y", f); // the skip list, the only one',
          "// before nowhere; XXH64; /sys/kernel/mm/ksm; src/work/x; `${dir}/tmp/`",
          'import x from "./home/a.js";',
          "registry.register(x);",
        ].join("\n"),
        "docs/a.md": BAD.join("\n"),
      },
    },
  ],
};
