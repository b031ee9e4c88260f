/**
 * What a person sees at the end of a run: the text of documents, line by line, and how the command itself
 * leaves a terminal.
 */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { printable } from "../../dist/cli/printable.js";
import { shortened, width, wrapped } from "../../dist/cli/screen/columns.js";
import { renderText } from "../../dist/cli/screen/text.js";
import { MAIN, PAGE, pagefold } from "./command.js";
import { guestRow, runDocument } from "./run-document.js";
import { hasTerminal, onTerminal } from "./terminal.js";

const FOLDED = [
  guestRow("node", 40_000, {
    ...{ pages_shared: 120, pages_sharing: 30_000, pages_unshared: 9_880 },
    ...{ zero_pages: 12_345, saved_zero_bytes: 12_344 * PAGE },
  }),
  guestRow("node#2", 41_234, {
    ...{ node: 1, pages_shared: 10_000, pages_sharing: 20_000, pages_unshared: 11_234 },
    ...{ zero_pages: 2, saved_zero_bytes: 2 * PAGE },
  }),
];

const HISTOGRAM = [
  { copies_min: 1, copies_max: 1, contents: 21_114, pages: 21_114 },
  { copies_min: 2, copies_max: 3, contents: 10_119, pages: 47_773 },
  { copies_min: 8192, copies_max: 16_383, contents: 1, pages: 12_347 },
];

/** As many of everything as an engine can have. */
const MOST: Parameters<typeof runDocument>[1] = {
  nodes: Array.from({ length: 64 }, (_, node) => ({
    ...{ node, blocks: 2 ** 14, pages: 2 ** 24, remote_pages: 2 ** 24 },
    ...{ frames_total: 2 ** 24, frames_used: 2 ** 24, frames_free: 2 ** 24 },
  })),
  migrations: {
    succeeded: 2 ** 50,
    failed: { pinned: 2 ** 50, busy: 2 ** 50, no_frame: 2 ** 50, raced: 2 ** 50, timeout: 2 ** 50 },
  },
  memory: {
    ...{ reusable_bytes: 2 ** 36, released_bytes: 2 ** 36 },
    ...{ rss_before_bytes: 2 ** 36, rss_after_bytes: 2 ** 36 },
  },
};

const NOTE =
  "no source was named: 2 Node processes were started, and each has compacted the same 12 modules";

describe("the text of a run", () => {
  it("fits 80 columns", () => {
    const document = runDocument(FOLDED, { histogram: HISTOGRAM, notes: [NOTE] });
    expect(renderText(document)).toMatchInlineSnapshot(`
      "guest   node   pages   zeros  shared  sharing  unshared      saved
      -------------------------------------------------------------------------
      node       0  40,000  12,345     120   30,000     9,880  117.2 MiB  75.0%
      node#2     1  41,234       2  10,000   20,000    11,234   78.1 MiB  48.5%
      -------------------------------------------------------------------------
      all           81,234  12,347  10,120   50,000    21,114  195.3 MiB  61.6%

      copies        contents   pages
      ----------------------------------------------------------------
      1               21,114  21,114  ###############
      2-3             10,119  47,773  ################################
      8,192-16,383         1  12,347  #########

      merged    settled after 3 passes in 1.89 s (first pass 51 ms, second 1.83 s)
      scanned     212,535 pages/s    830 MiB/s  raw: hashed (xxh3-64, simd)
                1,637,606 pages/s  6,397 MiB/s  effective: visited, hashed or not
      verified  81,234 pages read back and compared in 310 ms: 0 mismatches
                audit of the engine: clean
      saved     195.3 MiB of 317.3 MiB (61.6%)
                 48.2 MiB in pages of zeros (there are 12,347)
                147.1 MiB in other equal pages
      note      no source was named: 2 Node processes were started, and each has
                compacted the same 12 modules

      How to read it: saved = pages_sharing x 4 KiB. Sharing pages use a shared frame
      instead of one of their own; each shared frame is counted for one of the guests
      that use it. Unshared pages are equal to no other.
      "
    `);
  });

  it("shows whole names on 120 columns", () => {
    const path = "a-snapshot-of-a-machine-at-midnight.img#2";
    const guests = [guestRow(path, 12, { pages_volatile: 2, pages_unshared: 10 }), ...FOLDED];
    const document = runDocument(guests);
    expect(tableOf(renderText(document, 120)).split("\n")).toEqual([
      "guest                                      node   pages   zeros  shared  sharing  unshared  volatile      saved",
      "-".repeat(118),
      "a-snapshot-of-a-machine-at-midnight.img#2     0      12       0       0        0        10         2      0 KiB   0.0%",
      "node                                          0  40,000  12,345     120   30,000     9,880         0  117.2 MiB  75.0%",
      "node#2                                        1  41,234       2  10,000   20,000    11,234         0   78.1 MiB  48.5%",
      "-".repeat(118),
      "all                                              81,246  12,347  10,120   50,000    21,124         2  195.3 MiB  61.5%",
    ]);
    expect(tableOf(renderText(document, 80))).toMatchInlineSnapshot(`
      "guest               pages  shared  sharing  unshared  volatile      saved
      --------------------------------------------------------------------------------
      a-snaps...t.img#2      12       0        0        10         2      0 KiB   0.0%
      node               40,000     120   30,000     9,880         0  117.2 MiB  75.0%
      node#2             41,234  10,000   20,000    11,234         0   78.1 MiB  48.5%
      --------------------------------------------------------------------------------
      all                81,246  10,120   50,000    21,124         2  195.3 MiB  61.5%"
    `);
  });

  it("counts pages that could not be read", () => {
    const guests = [guestRow("pid:1234", 900, { unreadable_pages: 1 }), guestRow("pid:1235", 7)];
    expect(renderText(runDocument(guests))).toMatchInlineSnapshot(`
      "guest     node  pages  zeros  shared  sharing  unshared  unreadable  saved
      --------------------------------------------------------------------------------
      pid:1234     0    900      0       0        0       900           1  0 KiB  0.0%
      pid:1235     0      7      0       0        0         7           0  0 KiB  0.0%
      --------------------------------------------------------------------------------
      all               907      0       0        0       907           1  0 KiB  0.0%

      merged    settled after 3 passes in 1.89 s (first pass 51 ms, second 1.83 s)
      scanned     212,535 pages/s    830 MiB/s  raw: hashed (xxh3-64, simd)
                1,637,606 pages/s  6,397 MiB/s  effective: visited, hashed or not
      verified  907 pages read back and compared in 310 ms: 0 mismatches
                audit of the engine: clean
      left out  1 page of live processes vanished before being read
      saved     0 KiB of 3.5 MiB (0.0%)

      How to read it: saved = pages_sharing x 4 KiB. Sharing pages use a shared frame
      instead of one of their own; each shared frame is counted for one of the guests
      that use it. Unshared pages are equal to no other.
      "
    `);
  });

  it("tells where pages lie, what has moved, and what went back to the system", () => {
    const MIB = 2 ** 20;
    const node = { frames_total: 81_920, blocks: 17 };
    const document = runDocument(FOLDED, {
      nodes: [
        { ...node, node: 0, frames_used: 31_234, frames_free: 0, pages: 40_000, remote_pages: 0 },
        { ...node, node: 1, frames_used: 0, frames_free: 9, pages: 41_234, remote_pages: 20_001 },
      ],
      migrations: {
        succeeded: 13_171,
        failed: { pinned: 12, busy: 0, no_frame: 1, raced: 3456, timeout: 0 },
      },
      memory: {
        ...{ reusable_bytes: 17.4 * MIB, released_bytes: 190 * MIB },
        ...{ rss_before_bytes: 460 * MIB, rss_after_bytes: 272 * MIB },
      },
    });
    const text = renderText(document);
    expect(text.split("\n\n")[1]).toMatchInlineSnapshot(`
      "node   pages  on other nodes  frames used  free  blocks
      -------------------------------------------------------
      0     40,000               0       31,234     0      17
      1     41,234          20,001            0     9      17"
    `);
    expect(summaryOf(text)).toMatchInlineSnapshot(`
      "merged    settled after 3 passes in 1.89 s (first pass 51 ms, second 1.83 s)
      scanned     212,535 pages/s    830 MiB/s  raw: hashed (xxh3-64, simd)
                1,637,606 pages/s  6,397 MiB/s  effective: visited, hashed or not
      moved     13,171 frames to other blocks or nodes; not: 12 pinned, 1 no_frame,
                3,456 raced
      verified  81,234 pages read back and compared in 310 ms: 0 mismatches
                audit of the engine: clean
      saved     195.3 MiB of 317.3 MiB (61.6%)
                 48.2 MiB in pages of zeros (there are 12,347)
                147.1 MiB in other equal pages
      memory    460.0 MiB resident when loaded, 272.0 MiB when merged (59.1%)
                190.0 MiB of frames given back to the system, 17.4 MiB kept for reuse"
    `);
  });

  it("says that it was interrupted", () => {
    const document = runDocument([guestRow("image", 5, { pages_unshared: 0 })], {
      ...{ settled: false, interrupted: true, passes: 0, verify: null, check: "skipped" },
      timing: {
        ...{ first_pass_seconds: null, merge_pass_seconds: null, settle_seconds: null },
        ...{ scan_pages_per_second: null, effective_pages_per_second: null },
      },
    });
    expect(summaryOf(renderText(document))).toMatchInlineSnapshot(`
      "ended     INTERRUPTED: this is what was known by then
      merged    not settled after 0 passes
      scanned   nothing
      verified  no pages
                no audit of the engine
      saved     0 KiB of 20 KiB (0.0%)"
    `);
  });

  it("says so too when merging had ended by then", () => {
    const document = runDocument(FOLDED, { interrupted: true, verify: null, check: "skipped" });
    expect(summaryOf(renderText(document)).split("\n").slice(0, 2)).toEqual([
      "ended     INTERRUPTED: this is what was known by then",
      "merged    settled after 3 passes in 1.89 s (first pass 51 ms, second 1.83 s)",
    ]);
  });

  it("says why it stopped, and what was not verified", () => {
    const base = { settled: false, verify: null, passes: 2, timing: { settle_seconds: null } };
    const byPasses = { ...base, options: { passes: 2, seconds: 9, verify: false } };
    const bySeconds = { ...base, options: { passes: 3, seconds: 9, verify: false } };
    const merged = (text: string): string[] => summaryOf(text).split("\n").slice(0, 2);
    expect(merged(renderText(runDocument(FOLDED, byPasses)))).toEqual([
      "merged    stopped by --passes after 2 passes, not settled (first pass 51 ms,",
      "          second 1.83 s)",
    ]);
    expect(merged(renderText(runDocument(FOLDED, bySeconds)))[0]).toBe(
      "merged    stopped by --seconds after 2 passes, not settled (first pass 51 ms,",
    );
    expect(renderText(runDocument(FOLDED, byPasses))).toContain(
      "\nverified  no pages (--no-verify)",
    );
  });

  it("says that it failed", () => {
    const mismatch = runDocument(FOLDED, { verify: { pages: 81_234, mismatches: 1 } });
    expect(summaryOf(renderText(mismatch))).toMatchInlineSnapshot(`
      "merged    settled after 3 passes in 1.89 s (first pass 51 ms, second 1.83 s)
      scanned     212,535 pages/s    830 MiB/s  raw: hashed (xxh3-64, simd)
                1,637,606 pages/s  6,397 MiB/s  effective: visited, hashed or not
      verified  81,234 pages read back and compared in 310 ms: 1 mismatch
                audit of the engine: clean
                FAILED: standard error says where
      saved     195.3 MiB of 317.3 MiB (61.6%)
                 48.2 MiB in pages of zeros (there are 12,347)
                147.1 MiB in other equal pages"
    `);
    expect(renderText(runDocument(FOLDED, { check: "failed" }))).toContain(
      "\n          audit of the engine: failed\n          FAILED: standard error says where\n",
    );
  });

  it("says it when nothing was merged", () => {
    expect(renderText(runDocument([guestRow("image", 1)]))).toMatchInlineSnapshot(`
      "guest  node  pages  zeros  shared  sharing  unshared  saved
      -----------------------------------------------------------------
      image     0      1      0       0        0         1  0 KiB  0.0%
      -----------------------------------------------------------------
      all              1      0       0        0         1  0 KiB  0.0%

      merged    settled after 3 passes in 1.89 s (first pass 51 ms, second 1.83 s)
      scanned     212,535 pages/s    830 MiB/s  raw: hashed (xxh3-64, simd)
                1,637,606 pages/s  6,397 MiB/s  effective: visited, hashed or not
      verified  1 page read back and compared in 310 ms: 0 mismatches
                audit of the engine: clean
      saved     0 KiB of 4 KiB (0.0%)

      How to read it: saved = pages_sharing x 4 KiB. Sharing pages use a shared frame
      instead of one of their own; each shared frame is counted for one of the guests
      that use it. Unshared pages are equal to no other.
      "
    `);
  });

  it("shows names of any script in line", () => {
    const names = [
      "データ.img",
      "e\u0301te\u0301",
      "👨‍👩‍👧 🫠",
      "ภาษาไทย",
      "a\x1b[31m\nb\u202Ec",
      "x",
    ];
    const text = renderText(runDocument(names.map((name) => guestRow(name, 1))));
    expect(tableOf(text)).toMatchInlineSnapshot(`
      "guest       node  pages  zeros  shared  sharing  unshared  saved
      ----------------------------------------------------------------------
      データ.img     0      1      0       0        0         1  0 KiB  0.0%
      été            0      1      0       0        0         1  0 KiB  0.0%
      👨‍👩‍👧 🫠          0      1      0       0        0         1  0 KiB  0.0%
      ภาษาไทย        0      1      0       0        0         1  0 KiB  0.0%
      a?[31m?b?c     0      1      0       0        0         1  0 KiB  0.0%
      x              0      1      0       0        0         1  0 KiB  0.0%
      ----------------------------------------------------------------------
      all                   6      0       0        0         6  0 KiB  0.0%"
    `);
    const rows = tableOf(text).split("\n").slice(1);
    expect(new Set(rows.map(width)).size).toBe(1);
  });

  it("is never wider than the terminal", () => {
    // Up to 256 GiB in all.
    const row = fc.tuple(...Array.from({ length: 5 }, () => fc.nat({ max: 2 ** 22 })));
    const name = fc.string({ unit: "grapheme", minLength: 1, maxLength: 100 });
    const guest = fc.tuple(name, row).map(([name, [shared, sharing, unshared, volatile, gone]]) =>
      guestRow(name, shared + sharing + unshared + volatile, {
        ...{ pages_shared: shared, pages_sharing: sharing, pages_unshared: unshared },
        ...{ pages_volatile: volatile, unreadable_pages: gone, zero_pages: sharing },
      }),
    );
    const guests = fc.array(guest, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(guests, name, fc.integer({ min: 80, max: 200 }), (rows, note, columns) => {
        const text = renderText(runDocument(rows, { notes: [note], ...MOST }), columns);
        for (const line of text.split("\n")) expect(width(line)).toBeLessThanOrEqual(columns);
      }),
    );
  });
});

/** The lines up to the first that is empty. */
function tableOf(text: string): string {
  return text.slice(0, text.indexOf("\n\n"));
}

function summaryOf(text: string): string {
  return text.slice(text.search(/\n(ended|merged)/) + 1, text.indexOf("\n\nHow to read it"));
}

describe("columns", () => {
  it.each([
    ["", 0],
    ["abc", 3],
    ["e\u0301", 1],
    ["データ", 6],
    ["한국", 4],
    ["\u1112\u1161\u11AB", 2],
    ["Ａ", 2],
    ["ภาษาไทย", 7],
    ["ที่", 1],
    ["👨‍👩‍👧", 2],
    ["🫠", 2],
    ["❤\uFE0F", 2],
    ["🇫🇷", 2],
    ["\u200B", 0],
  ])("of %j are %i", (text, columns) => {
    expect(width(text)).toBe(columns);
  });

  it("leaves the middle of a name out", () => {
    expect(shortened("0123456789", 10)).toBe("0123456789");
    expect(shortened("0123456789A", 10)).toBe("0123...89A");
    expect(shortened("データ大きい", 8)).toBe("デ...い");
  });

  it("breaks lines at spaces, and words that are too long", () => {
    expect(wrapped("a bc def", 4)).toEqual(["a bc", "def"]);
    expect(wrapped("a  b", 4)).toEqual(["a  b"]);
    expect(wrapped("ab cdefgh i", 4)).toEqual(["ab", "cdef", "gh i"]);
  });

  it("shows what a terminal would obey as question marks", () => {
    expect(printable("a\x1b[2J\x9b\u2028\u202Eb")).toBe("a?[2J???b");
  });
});

const RUN = ["run", "synth:pages=3000"];

describe.skipIf(!hasTerminal)("a run on a terminal", () => {
  const command = [process.execPath, MAIN, ...RUN];

  it.each([80, 120])("of %i columns leaves nothing but its result", async (columns) => {
    const { status, screen, frames, folded, cursor } = await onTerminal(command, { columns });
    expect(status).toBe(0);
    expect(frames[0]).toMatch(/^ loading /);
    expect(screen[0]).toMatch(/^guest +node +pages +zeros +shared +sharing +unshared +saved$/);
    expect(screen.filter((line) => /loading|merging|verifying|auditing|ETA/.test(line))).toEqual(
      [],
    );
    expect(screen.at(-1)).toMatch(/Unshared pages are equal to no other\.$/);
    expect(folded).toBe(0);
    expect(cursor).toEqual({ line: screen.length, column: 0, isVisible: true });
  });

  it("shows its progress there when the result goes elsewhere", async () => {
    const elsewhere = ["sh", "-c", '"$@" >/dev/null', "sh", ...command];
    const { status, screen, frames } = await onTerminal(elsewhere, { columns: 40 });
    expect({ status, screen }).toEqual({ status: 0, screen: [] });
    expect(frames[0]).toMatch(/^ loading /);
    expect(frames.filter((frame) => frame.length >= 40)).toEqual([]);
  });

  it("prints what is known at Ctrl-C, and nothing of the line stays", async () => {
    const slow = ["--sleep-millisecs", "1000", "--pages-to-scan", "1"];
    const actions = [{ after: "merging, pass 1", type: "\x03" }];
    const seen = await onTerminal([...command, ...slow], { columns: 80, actions });
    expect(seen.status).toBe(130);
    expect(seen.screen[0]).toMatch(/^guest /);
    expect(seen.screen).toContain("ended     INTERRUPTED: this is what was known by then");
    expect(seen.screen.filter((line) => line.includes("merging"))).toEqual([]);
  });

  it("prints the same with --quiet, in CI and on a pipe, and no progress", async () => {
    const [quiet, ci, piped] = await Promise.all([
      onTerminal([...command, "--quiet"], { columns: 80 }),
      onTerminal(command, { columns: 80, env: { CI: "true" } }),
      pagefold(RUN),
    ]);
    const shape = (text: string): string =>
      text.replace(/[\d.,]+|[mnu]?s\b/g, "0").replace(/ +/g, " ");
    const plain = shape(piped.stdout);
    expect(plain).toMatch(/^guest /);
    expect(piped.stderr).toBe("");
    expect(shape(quiet.output.replaceAll("\r\n", "\n"))).toBe(plain);
    expect(shape(ci.output.replaceAll("\r\n", "\n"))).toBe(plain);
  });
});
