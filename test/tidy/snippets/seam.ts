/**
 * snippets of seam, direct-access, protocol and side-effects.
 */
// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the snippets are about templates.
import type { Snippets } from "./snippet.ts";

export const seam: Snippets = {
  fails: [
    {
      name: "Atomics outside the seam, under whatever name it is reached",
      files: {
        "src/mm/a.ts": "Atomics.load(words, 0);\nconst { load } = globalThis.Atomics;",
        "src/base/memory.ts": "const text = `${Atomics.load(w, 0)}`;",
      },
      at: ["src/mm/a.ts:1", "src/mm/a.ts:2", "src/base/memory.ts:1"],
    },
    {
      name: "shared memory created elsewhere",
      files: {
        "src/machine/a.ts":
          "new SharedArrayBuffer(4);\nnew WebAssembly.Memory(d);\n" +
          "new globalThis.SharedArrayBuffer(4);",
      },
      at: ["src/machine/a.ts:1", "src/machine/a.ts:2", "src/machine/a.ts:3"],
    },
    {
      name: "the seam passed on",
      files: { "src/mm/a.ts": 'export { loadWord } from "../base/atomics.js";' },
      at: ["src/mm/a.ts:1"],
    },
  ],
  passes: [
    {
      name: "the seam itself, the creator of memory, and private memory of kernels",
      files: {
        "src/base/atomics.ts": "export const x = Atomics.load(words, 0);",
        "src/base/memory.ts": "new WebAssembly.Memory(d);\nnew SharedArrayBuffer(4);",
        "src/kernels/a.ts": "new WebAssembly.Memory(d);",
        "test/model/seam.ts": "Atomics.load(words, 0);",
      },
    },
    {
      name: "what is spoken of, or a type",
      files: {
        "src/mm/a.ts":
          '// Atomics\nconst s = "Atomics";\n/Atomics/.test(s);\n' +
          "let m: WebAssembly.Memory;\nlet b: SharedArrayBuffer;",
      },
    },
  ],
};

export const directAccess: Snippets = {
  fails: [
    {
      name: "indexing a shared array",
      files: {
        "src/mm/a.ts": "memory.control[0] = 1;\nreturn block.words[i]!;",
        "src/ksm/a.ts": "const n = memory.wide[0] + blockOf(memory, pfn).bytes[1];",
        "src/migrate/a.ts": "memory.blocks[0].words\n  [7];\nblock?.words?.[1];",
      },
      at: [
        "src/mm/a.ts:1",
        "src/mm/a.ts:2",
        "src/ksm/a.ts:1",
        "src/ksm/a.ts:1",
        "src/migrate/a.ts:1",
        "src/migrate/a.ts:3",
      ],
    },
    {
      name: "indexing it under another name",
      files: {
        "src/mm/a.ts": [
          "const w = blocks[0].words;",
          "const { control, wide: v } = memory;",
          "w[0] = control[1] + v[2];",
          "function f({ bytes }: Block) { return bytes[0]; }",
        ].join("\n"),
      },
      at: ["src/mm/a.ts:3", "src/mm/a.ts:3", "src/mm/a.ts:3", "src/mm/a.ts:4"],
    },
    {
      name: "a method that reads or writes words",
      files: { "src/mm/a.ts": "memory.control.fill(0);" },
      at: ["src/mm/a.ts:1"],
    },
  ],
  passes: [
    {
      name: "the array passed to the seam, its length, and arrays that are private",
      files: {
        "src/mm/a.ts": [
          "const { words } = block;",
          "loadWord(words, 0); plainLoad(memory.control, i);",
          "const bytes = new Uint8Array(4096);",
          "bytes[0] = memory.control.length;",
          "// memory.control[0]",
        ].join("\n"),
        "src/machine/check.ts": "memory.control[0];",
      },
    },
  ],
};

export const protocol: Snippets = {
  fails: [
    {
      name: "waiting, catching, chance and clocks",
      files: {
        "src/mm/a.ts": "async function f() {\n  await g();\n}",
        "src/ksm/a.ts": "try {\n  f();\n} catch {\n} finally {\n}",
        "src/migrate/a.ts": "Math.random();\nDate.now();\nglobalThis.performance.now();",
        "src/mm/b.ts": "setTimeout(f, 1);\nnew Promise(f);\nprocess.env;\nconsole.log(1);",
      },
      at: [
        "src/mm/a.ts:1",
        "src/mm/a.ts:2",
        "src/ksm/a.ts:1",
        "src/ksm/a.ts:3",
        "src/ksm/a.ts:4",
        "src/migrate/a.ts:1",
        "src/migrate/a.ts:2",
        "src/migrate/a.ts:3",
        "src/mm/b.ts:1",
        "src/mm/b.ts:2",
        "src/mm/b.ts:3",
        "src/mm/b.ts:4",
      ],
    },
    {
      name: "code within a template",
      files: { "src/mm/a.ts": "const s = `at ${Date.now()}`;" },
      at: ["src/mm/a.ts:1"],
    },
  ],
  passes: [
    {
      name: "words in comments and strings, members, and other layers",
      files: {
        "src/mm/a.ts": "// try again, catch up, await the Date\nconst s = 'finally: async';",
        "src/ksm/a.ts": "knobs.process = 1;\nconst dates = Math.max(1, 2);",
        "src/machine/a.ts": "async function f() { try { await g(); } finally { Date.now(); } }",
      },
    },
  ],
};

export const sideEffects: Snippets = {
  fails: [
    {
      name: "printing and ending the process in the library",
      files: {
        "src/machine/a.ts": [
          'console.log("x");',
          'process.stdout.write("x");',
          "process.exit(1);",
          'process.on("SIGINT", stop);',
          "process.kill(1);",
          'v8.setFlagsFromString("--x");',
          'import { exit } from "node:process";',
        ].join("\n"),
      },
      at: [1, 2, 3, 4, 5, 6, 7].map((line) => `src/machine/a.ts:${line}`),
    },
  ],
  passes: [
    {
      name: "the command line, and reading the process",
      files: {
        "src/cli/main.ts": 'console.log("x");\nprocess.on("SIGINT", stop);\nprocess.exit(0);',
        "src/machine/a.ts": 'process.memoryUsage();\nworker.on("exit", f);\n// console.log',
      },
    },
  ],
};
