/**
 * snippets of order and racy.
 */
import type { Failing, Snippet, Snippets } from "./snippet.ts";

const IMPORT = 'import { casWord, loadWord, racyLoad, storeWord } from "../base/atomics.js";';
const PARTNER = [IMPORT, "// ORDER pte.read <- pte.install", "const pte = loadWord(w, 0);"].join(
  "\n",
);

/** A file that imports the seam on line 1, next to a reader that waits for `pte.install`. */
function beside(name: string, lines: readonly string[]): Snippet {
  return {
    name,
    files: { "src/mm/a.ts": [IMPORT, ...lines].join("\n"), "src/mm/b.ts": PARTNER },
  };
}

function wrong(name: string, at: readonly string[], lines: readonly string[]): Failing {
  return { ...beside(name, lines), at };
}

/** As `beside`, without the reader. */
function alone(name: string, lines: readonly string[]): Snippet {
  return { name, files: { "src/ksm/a.ts": [IMPORT, ...lines].join("\n") } };
}

const INSTALL = "// ORDER pte.install -> pte.read: the bytes come first, else a guest reads half.";

export const order: Snippets = {
  fails: [
    { ...alone("an access without a tag", ["loadWord(w, 0);"]), at: ["src/ksm/a.ts:2"] },
    {
      name: "an access under another name",
      files: {
        "src/machine/a.ts": 'import { loadWord as l } from "../base/atomics.js";\nl(w, 0);',
        "src/machine/b.ts": 'import * as seam from "../base/atomics.js";\nseam.loadWord(w, 0);',
        "src/machine/c.ts":
          'import { loadWord } from "../base/atomics.js";\nconst other = loadWord;',
      },
      at: ["src/machine/a.ts:2", "src/machine/b.ts:2", "src/machine/c.ts:2"],
    },
    wrong(
      "a tag that is not directly above",
      ["src/mm/a.ts:4", "src/mm/a.ts:2"],
      [INSTALL, "", "storeWord(w, 0, 1);"],
    ),
    wrong(
      "a tag above the statement before",
      ["src/mm/a.ts:5"],
      [INSTALL, "storeWord(w, 0, 1);", "", "storeWord(w, 1, 1);"],
    ),
    wrong(
      "a tag above a block that contains the access in a later paragraph",
      ["src/mm/a.ts:5", "src/mm/a.ts:2"],
      [INSTALL, "for (const page of pages) {", "", "  storeWord(w, page, 1);", "}"],
    ),
    wrong(
      "a tag at the end of a line",
      ["src/mm/a.ts:2", "src/mm/b.ts:2"],
      [`storeWord(w, 0, 1); ${INSTALL}`],
    ),
    wrong(
      "a tag without a reason, or for no reason",
      ["src/mm/a.ts:2", "src/mm/a.ts:4"],
      [
        "// ORDER pte.install -> pte.read",
        "storeWord(w, 0, 1);",
        "// ORDER lock.take <-> lock.take: for safety of course",
        "casWord(w, 0, 1, 2);",
      ],
    ),
    wrong(
      "a partner or a reason that no tag defines",
      ["src/mm/a.ts:2", "src/mm/a.ts:4"],
      [
        INSTALL.replace("pte.read", "pte.read, pte.reap"),
        "storeWord(w, 0, 1);",
        "// ORDER x.take <-> x.take: as x.drop.",
        "casWord(w, 0, 1, 2);",
      ],
    ),
    wrong(
      "a partner that does not name back",
      ["src/mm/a.ts:4"],
      [
        INSTALL,
        "storeWord(w, 0, 1);",
        "// ORDER pte.clear -> pte.read: the reader must not see the old frame.",
        "storeWord(w, 0, 0);",
      ],
    ),
    wrong(
      "arrows that do not fit",
      ["src/mm/a.ts:2", "src/mm/b.ts:2"],
      ["// ORDER pte.install <- pte.read", "loadWord(w, 0);"],
    ),
    wrong(
      "a name with two definitions",
      ["src/mm/a.ts:4"],
      [INSTALL, "storeWord(w, 0, 1);", INSTALL, "storeWord(w, 1, 1);"],
    ),
    wrong(
      "a malformed tag",
      ["src/mm/a.ts:2", "src/mm/a.ts:3", "src/mm/b.ts:2"],
      [
        "// ORDER pte.install(release) -> pte.read: the bytes come first, else half.",
        "storeWord(w, 0, 1);",
      ],
    ),
    wrong("a tag that nothing needs any more", ["src/mm/a.ts:2"], [INSTALL, "lockPage(w);"]),
    {
      name: "a header that lists what does not exist, and that defines nothing",
      files: {
        "src/mm/a.ts": [
          "/**\n * a - b\n *\n * ORDER   x.take <-> x.drop\n */",
          IMPORT,
          "loadWord(w, 0);",
        ].join("\n"),
      },
      at: ["src/mm/a.ts:7", "src/mm/a.ts:4", "src/mm/a.ts:4"],
    },
  ],
  passes: [
    beside("a pair over two files, the reason on the next line", [
      "// ORDER pte.install -> pte.read: the copied bytes come",
      "// first; else a guest follows the pte into a half-filled frame.",
      "storeWord(w, 0, 1);",
    ]),
    beside("a tag in the doc comment of the function, or of one around it", [
      "/**",
      " * Installs.",
      " *",
      " * ORDER pte.install -> pte.read: the bytes come first, else a guest reads half.",
      " */",
      "export function install(w: Int32Array): { a: number } {",
      "  if (casWord(w, 0, 1, 2) === 1) return { a: 1 };",
      "  each((i) => { storeWord(w, i, 1); });",
      "  return { a: 2 };",
      "}",
    ]),
    beside("a tag above the line of a longer statement", [
      INSTALL,
      "const seen = flags({",
      "  first: 1,",
      "  second: casWord(w, 0, 1, 2),",
      "});",
      "// ORDER x.loop <-> x.loop: two lockers, one of them wins it.",
      "while (casWord(w, 0, 0, 1) !== 0) {",
      "  x();",
      "}",
      "return (",
      "  // ORDER y.loop <-> y.loop: two lockers, one of them wins it.",
      "  casWord(w, 0, 0, 1)",
      ");",
    ]),
    beside("a tag above an if whose else reads again, and a do-while", [
      INSTALL,
      "if (casWord(w, 0, 1, 2)) {",
      "  x();",
      "} else if (casWord(w, 0, 1, 2)) {",
      "  y();",
      "}",
      "// ORDER x.loop <-> x.loop: two lockers, one of them wins it.",
      "do {",
      "  z();",
      "} while (casWord(w, 0, 0, 1) !== 0);",
    ]),
    beside("several tags and partners, prose after them, and no seam at all", [
      "// The order matters twice.",
      "// ORDER pte.install -> pte.read,",
      "//   pte.reap: the bytes come first, else half.",
      "// ORDER pte.reap <- pte.install",
      "// A reader may come late.",
      "casWord(w, 0, 1, 2);",
      "memory.loadWord(w, 0);",
      "const text = 'ORDER x';",
    ]),
    {
      name: "a header that lists the pairs, and functions of another file with the same names",
      files: {
        "src/mm/b.ts": `/**\n * b - c\n *\n * ORDER   p.q <-> p.q\n */\n${PARTNER}`.replace(
          "pte.read <- pte.install",
          "p.q <-> p.q: both see what the other did",
        ),
        "src/mm/c.ts": 'import { loadWord } from "./mine.js";\nloadWord(w, 0);',
      },
    },
  ],
};

export const racy: Snippets = {
  fails: [
    { ...alone("a racy access without a comment", ["racyLoad(w, 0);"]), at: ["src/ksm/a.ts:2"] },
    {
      ...alone("a comment that is no RACY comment, or says nothing", [
        "// This is racy.",
        "racyLoad(w, 0);",
        "// RACY: fine",
        "racyLoad(w, 0);",
      ]),
      at: ["src/ksm/a.ts:4", "src/ksm/a.ts:3"],
    },
    {
      name: "a racy access in a file of the machine, under another name",
      files: {
        "src/machine/a.ts":
          'import { racyStoreByte as put } from "../base/atomics.js";\nput(w, 0, 1);',
      },
      at: ["src/machine/a.ts:2"],
    },
  ],
  passes: [
    alone("a reason above the statement or in the doc comment", [
      "// RACY: any value is a hint; the pte is",
      "// read again under the lock.",
      "const hint = racyLoad(w, 0);",
      "class A {",
      "  /** RACY: any value will do, the caller reads again. */",
      "  peek(): number {",
      "    return racyLoad(w, 0);",
      "  }",
      "}",
    ]),
  ],
};
