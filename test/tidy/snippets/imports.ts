/**
 * snippets of layers, cycles and dead-exports.
 */
import type { Snippets } from "./snippet.ts";

export const layers: Snippets = {
  fails: [
    {
      name: "ksm and migrate importing each other, even as types",
      files: {
        "src/ksm/a.ts": 'import { m } from "../migrate/m.js";',
        "src/migrate/m.ts": 'import type { A } from "../ksm/a.js";',
      },
      at: ["src/ksm/a.ts:1", "src/migrate/m.ts:1"],
    },
    {
      name: "a lower layer importing a higher one, in every form of import",
      files: {
        "src/base/a.ts": 'export * from "../mm/a.js";',
        "src/mm/a.ts": 'import "../ksm/a.js";\nexport { b } from "../machine/b.js";',
        "src/mm/b.ts":
          'const k = await import("../kernels/k.js");\nlet t: import("../cli/c.js").T;',
        "src/kernels/k.ts": 'import type { P } from "../mm/p.js";',
        "src/machine/b.ts": 'import { x } from "../index.js";',
        "src/index.ts": 'export { a } from "./mm/a.js";',
      },
      at: [
        "src/base/a.ts:1",
        "src/mm/a.ts:1",
        "src/mm/a.ts:2",
        "src/mm/b.ts:1",
        "src/mm/b.ts:2",
        "src/kernels/k.ts:1",
        "src/machine/b.ts:1",
        "src/index.ts:1",
      ],
    },
    {
      name: "node: modules and packages where there must be none",
      files: {
        "src/base/a.ts": 'import { join } from "node:path";',
        "src/migrate/a.ts": 'import xxhash from "xxhash-wasm";',
      },
      at: ["src/base/a.ts:1", "src/migrate/a.ts:1"],
    },
    {
      name: "piscina outside topology",
      files: {
        "src/machine/topology.ts": 'import { Piscina } from "piscina";',
        "src/machine/worker.ts": 'import { workerData } from "piscina";',
      },
      at: ["src/machine/worker.ts:1"],
    },
    {
      name: "a file in no layer, and an import from outside src",
      files: {
        "src/util/a.ts": "export const a = 1;",
        "src/kernels/k.ts": 'import { build } from "../../native-free-wasm/build.mjs";',
      },
      at: ["src/util/a.ts:1", "src/kernels/k.ts:1"],
    },
  ],
  passes: [
    {
      name: "the layers as drawn",
      files: {
        "src/base/memory.ts": 'import { PAGE_SIZE } from "./units.js";',
        "src/kernels/k.ts": 'import xxhash from "xxhash-wasm";\nimport fs from "node:fs";',
        "src/mm/pte.ts": 'import type { Memory } from "../base/memory.js";',
        "src/ksm/merge.ts": 'import { read } from "../mm/pte.js";',
        "src/machine/topology.ts": 'import { Piscina } from "piscina";\nimport "../ksm/merge.js";',
        "src/cli/main.ts": 'import { Command } from "commander";\nimport { x } from "../index.js";',
        "src/index.ts": 'export { x } from "./machine/machine.js";',
      },
    },
    {
      name: "imports that are only spoken of, and files that are no modules",
      files: {
        "src/mm/a.ts": '// import { x } from "../ksm/x.js";\nconst s = `import "../ksm/x.js"`;',
        "src/kernels/k.ts": 'const u = new URL("../../k.wasm", import.meta.url);',
        "src/wasm.d.ts": "declare namespace WebAssembly {}",
      },
    },
  ],
};

export const cycles: Snippets = {
  fails: [
    {
      name: "two files that import each other",
      files: {
        "src/mm/a.ts": 'import { b } from "./b.js";',
        "src/mm/b.ts": '\nimport { a } from "./a.js";',
      },
      at: ["src/mm/b.ts:2"],
    },
    {
      name: "a longer way round, through an export",
      files: {
        "src/mm/a.ts": 'import { b } from "./b.js";',
        "src/mm/b.ts": 'export { c } from "./c.js";',
        "src/mm/c.ts": 'import { type A } from "./a.js";',
      },
      at: ["src/mm/c.ts:1"],
    },
    {
      name: "a file that imports itself",
      files: { "src/mm/a.ts": 'import { a } from "./a.js";' },
      at: ["src/mm/a.ts:1"],
    },
  ],
  passes: [
    {
      name: "a diamond",
      files: {
        "src/mm/a.ts": 'import { b } from "./b.js";\nimport { c } from "./c.js";',
        "src/mm/b.ts": 'import { d } from "./d.js";',
        "src/mm/c.ts": 'import { d } from "./d.js";',
      },
    },
    {
      name: "a way back that is a type, or the URL of a worker",
      files: {
        "src/machine/a.ts": 'import { b } from "./b.js";',
        "src/machine/b.ts":
          'import type { A } from "./a.js";\nexport type { B } from "./a.js";\n' +
          'new URL("./a.js", import.meta.url);',
      },
    },
  ],
};

export const deadExports: Snippets = {
  fails: [
    {
      name: "exports that nobody imports",
      files: {
        "src/mm/a.ts": [
          "export const used = 1, never = 2;",
          "export function unused(): void {}",
          "export type Unused = number;",
          "const listed = 1;",
          "export { listed as renamed };",
        ].join("\n"),
        "src/mm/b.ts": 'import { used } from "./a.js";\nused;',
      },
      at: ["src/mm/a.ts:2", "src/mm/a.ts:3", "src/mm/a.ts:5"],
    },
    {
      name: "a name that is imported, but from another file",
      files: {
        "src/mm/a.ts": "export const one = 1;",
        "src/mm/b.ts": "export const one = 1;",
        "test/unit/a.test.ts": 'import { one } from "../../src/mm/a.js";',
      },
      at: ["src/mm/b.ts:1"],
    },
  ],
  passes: [
    {
      name: "every way to use an export",
      files: {
        "src/mm/a.ts": "export interface A {}\nexport abstract class B {}\nexport const enum C {}",
        "src/mm/b.ts": "export async function* b() {}\nexport default 1;",
        "src/mm/c.ts": "export const c = 1;",
        "src/machine/d.ts": "export const d = 1;",
        "src/machine/worker.ts": "export function run() {}",
        "src/machine/topology.ts": 'new URL("./worker.js", import.meta.url);',
        "src/index.ts": 'export * from "./machine/d.js";\nexport const version = 1;',
        "test/unit/a.test.ts": 'import { type A, B as X } from "../../src/mm/a.ts";',
        "bench/a.mjs": 'import one, * as all from "../dist/mm/b.js";',
        "examples/a.ts": 'const c = await import("../src/mm/c.js");',
        "test/unit/b.test.ts": 'import type { C } from "../../src/mm/a.ts";',
      },
    },
    {
      name: "a constant that is generated into the WebAssembly kernels",
      files: {
        "src/base/units.ts": "export const LIST_WORDS = 4;",
        "native-free-wasm/layout.mjs": 'const SOURCES = ["./src/base/units.ts"];',
        "native-free-wasm/assembly/layout.gen.ts": "export const LIST_WORDS: i32 = 4;",
      },
    },
  ],
};
