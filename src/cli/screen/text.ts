/**
 * text - what a run found, for people. No line is wider than a terminal of 80 columns or more.
 */
import { PAGE_SIZE } from "../../base/units.js";
import type { GuestRow, RunDocument } from "../document.js";
import { printable } from "../printable.js";
import { shortened, wrapped } from "./columns.js";
import { facts, PROSE } from "./facts.js";
import { count, counted, duration, percent, size } from "./figures.js";
import { type Column, columnWidth, renderTable, tableWidth } from "./table.js";

const BAR = 32;

/** Columns that matter less: each is there only if names have so much beside it. The first goes first. */
const DISPENSABLE = [
  ["zeros", 20],
  ["node", 12],
  ["volatile", 12],
  ["unreadable", 12],
] as const;

/** The whole output, with its last line break. */
export function renderText(document: RunDocument, columns = PROSE): string {
  const parts = [
    guestTable(document, columns),
    nodeTable(document),
    histogramTable(document),
    summary(document),
  ];
  const texts = parts.filter((lines) => lines.length > 0).map((lines) => lines.join("\n"));
  return `${texts.join("\n\n")}\n`;
}

function guestTable(document: RunDocument, columns: number): string[] {
  const { guests } = document;
  const figures = figureColumns(document);
  const names = guests.map(({ name }) => printable(name));
  const longest = columnWidth(nameColumn(names));
  // What the figures leave for names.
  const left = (): number => columns - tableWidth([nameColumn([]), ...figures]) + "guest".length;
  for (const [head, wanted] of DISPENSABLE) {
    const at = figures.findIndex((column) => column.head === head);
    if (at >= 0 && left() < Math.min(longest, wanted)) figures.splice(at, 1);
  }
  const room = left();
  const shown = nameColumn(names.map((name) => shortened(name, room)));
  return renderTable([shown, ...figures], [0, guests.length]);
}

function nameColumn(names: readonly string[]): Column {
  return { head: "guest", cells: [...names, "all"], align: "left" };
}

/** What is known of each guest, and in the last row of all. */
function figureColumns({ guests, counters, unreadable_pages }: RunDocument): Column[] {
  const column = (head: string, each: readonly string[], all: string): Column => {
    return { head, cells: [...each, all], align: "right" };
  };
  type Figure = Exclude<keyof GuestRow, "name" | "source" | "node">;
  const sum = (key: Figure): number => guests.reduce((total, guest) => total + guest[key], 0);
  const counts = (head: string, key: Figure): Column =>
    column(
      head,
      guests.map((guest) => count(guest[key])),
      count(sum(key)),
    );
  const node = guests.map((guest) => String(guest.node));
  const saved = guests.map((guest) => size(guest.saved_bytes));
  const part = guests.map((guest) => percent(guest.saved_bytes, guest.pages * PAGE_SIZE));
  const inAll = sum("saved_bytes");
  return [
    column("node", node, ""),
    counts("pages", "pages"),
    counts("zeros", "zero_pages"),
    counts("shared", "pages_shared"),
    counts("sharing", "pages_sharing"),
    counts("unshared", "pages_unshared"),
    ...(counters.pages_volatile > 0 ? [counts("volatile", "pages_volatile")] : []),
    ...(unreadable_pages > 0 ? [counts("unreadable", "unreadable_pages")] : []),
    column("saved", saved, size(inAll)),
    column("", part, percent(inAll, sum("pages") * PAGE_SIZE)),
  ];
}

/** Where pages lie, if there is more than one place. */
function nodeTable({ nodes }: RunDocument): string[] {
  if (nodes.length < 2) return [];
  type Figure = keyof (typeof nodes)[number];
  const column = (head: string, key: Figure): Column => ({
    head,
    cells: nodes.map((node) => count(node[key])),
    align: key === "node" ? "left" : "right",
  });
  return renderTable(
    [
      column("node", "node"),
      column("pages", "pages"),
      column("on other nodes", "remote_pages"),
      column("frames used", "frames_used"),
      column("free", "frames_free"),
      column("blocks", "blocks"),
    ],
    [0],
  );
}

/** How many contents occur how often, in powers of two. */
function histogramTable({ histogram }: RunDocument): string[] {
  if (histogram.length === 0) return [];
  const most = Math.max(...histogram.map(({ pages }) => pages));
  const copies = histogram.map(({ copies_min: min, copies_max: max }) =>
    min === max ? count(min) : `${count(min)}-${count(max)}`,
  );
  const contents = histogram.map((row) => count(row.contents));
  const pages = histogram.map((row) => count(row.pages));
  const bars = histogram.map((row) => "#".repeat(Math.ceil((BAR * row.pages) / most)));
  return renderTable(
    [
      { head: "copies", cells: copies, align: "left" },
      { head: "contents", cells: contents, align: "right" },
      { head: "pages", cells: pages, align: "right" },
      { head: "", cells: bars, align: "left" },
    ],
    [0],
  );
}

function summary(document: RunDocument): string[] {
  return [
    ...facts("ended", endedLines(document)),
    ...facts("merged", mergedLines(document)),
    ...facts("scanned", rateLines(document)),
    ...facts("moved", movedLines(document)),
    ...facts("verified", verifyLines(document)),
    ...facts("left out", leftOutLines(document)),
    ...facts("saved", savedLines(document)),
    ...facts("memory", memoryLines(document)),
    ...document.notes.flatMap((note) => facts("note", [printable(note)])),
    "",
    ...wrapped(legend(document), PROSE),
  ];
}

function endedLines({ interrupted }: RunDocument): string[] {
  return interrupted ? ["INTERRUPTED: this is what was known by then"] : [];
}

function mergedLines({ settled, interrupted, passes, timing, options }: RunDocument): string[] {
  const { first_pass_seconds: first, merge_pass_seconds: second, settle_seconds: all } = timing;
  const parts = [
    ...(first === null ? [] : [`first pass ${duration(first)}`]),
    ...(second === null ? [] : [`second ${duration(second)}`]),
  ];
  const detail = parts.length > 0 ? ` (${parts.join(", ")})` : "";
  const after = `after ${counted(passes, "pass", "passes")}`;
  if (settled && all !== null) return [`settled ${after} in ${duration(all)}${detail}`];
  if (interrupted) return [`not settled ${after}${detail}`];
  const limit = passes === options.passes ? "--passes" : "--seconds";
  return [`stopped by ${limit} ${after}, not settled${detail}`];
}

function rateLines({ timing, kernels, hash }: RunDocument): string[] {
  const { scan_pages_per_second: raw, effective_pages_per_second: effective } = timing;
  if (raw === null || effective === null) return ["nothing"];
  const rates = [raw, effective];
  const pages = aligned(rates.map((rate) => `${count(rate)} pages/s`));
  const mib = aligned(rates.map((rate) => `${count((rate * PAGE_SIZE) / 2 ** 20)} MiB/s`));
  return [
    `${pages[0]}  ${mib[0]}  raw: hashed (${hash}, ${kernels})`,
    `${pages[1]}  ${mib[1]}  effective: visited, hashed or not`,
  ];
}

function movedLines({ migrations: { succeeded, failed } }: RunDocument): string[] {
  const stayed = Object.entries(failed).filter(([, frames]) => frames > 0);
  if (succeeded === 0 && stayed.length === 0) return [];
  const reasons = stayed.map(([reason, frames]) => `${count(frames)} ${reason}`);
  const not = reasons.length > 0 ? `; not: ${reasons.join(", ")}` : "";
  return [`${counted(succeeded, "frame")} to other blocks or nodes${not}`];
}

function verifyLines({ verify, check, timing, options }: RunDocument): string[] {
  const reason = options.verify ? "" : " (--no-verify)";
  const pages = verify === null ? `no pages${reason}` : comparedLine(verify, timing.verify_seconds);
  const audit = check === "skipped" ? "no audit of the engine" : `audit of the engine: ${check}`;
  const failed = (verify !== null && verify.mismatches > 0) || check === "failed";
  return [pages, audit, ...(failed ? ["FAILED: standard error says where"] : [])];
}

function comparedLine(
  { pages, mismatches }: { readonly pages: number; readonly mismatches: number },
  took: number | null,
): string {
  const time = took === null ? "" : ` in ${duration(took)}`;
  const found = counted(mismatches, "mismatch", "mismatches");
  return `${counted(pages, "page")} read back and compared${time}: ${found}`;
}

function leftOutLines({ unreadable_pages: unreadable }: RunDocument): string[] {
  if (unreadable === 0) return [];
  return [`${counted(unreadable, "page")} of live processes vanished before being read`];
}

/** What zero pages save is had without merging, by whoever looks for them: it stands apart. */
function savedLines({ pages, saved_bytes, saved_zero_bytes, zero_pages }: RunDocument): string[] {
  const all = pages * PAGE_SIZE;
  const sizes = [saved_bytes, saved_zero_bytes, saved_bytes - saved_zero_bytes];
  const [saved, zeros, others] = aligned(sizes.map(size));
  const total = `${saved} of ${size(all)} (${percent(saved_bytes, all)})`;
  if (saved_bytes === 0) return [total];
  return [
    total,
    `${zeros} in pages of zeros (there are ${count(zero_pages)})`,
    `${others} in other equal pages`,
  ];
}

/** What the process has of the system, and what it does not need. */
function memoryLines({ memory }: RunDocument): string[] {
  const { rss_before_bytes: before, rss_after_bytes: after } = memory;
  const { released_bytes: released, reusable_bytes: reusable } = memory;
  if (before === null || after === null || released === 0) return [];
  return [
    `${size(before)} resident when loaded, ${size(after)} when merged (${percent(after, before)})`,
    `${size(released)} of frames given back to the system, ${size(reusable)} kept for reuse`,
  ];
}

function legend({ counters }: RunDocument): string {
  const volatile = " Volatile pages have not been seen unchanged yet.";
  return (
    "How to read it: saved = pages_sharing x 4 KiB. Sharing pages use a shared frame instead of " +
    "one of their own; each shared frame is counted for one of the guests that use it. Unshared " +
    `pages are equal to no other.${counters.pages_volatile > 0 ? volatile : ""}`
  );
}

/** Texts of one width, to the right. */
function aligned(texts: readonly string[]): string[] {
  const longest = Math.max(...texts.map((text) => text.length));
  return texts.map((text) => text.padStart(longest));
}
