/**
 * text - what a run found, for people.
 */
import { PAGE_SIZE } from "../base/units.js";
import type { GuestRow, RunDocument } from "./document.js";

const MIB = 2 ** 20;
const NAME_MAX = 20;

/** The whole output, with its last line break. */
export function renderText(document: RunDocument): string {
  const parts = [guestTable(document), histogramTable(document), summary(document)];
  const texts = parts.filter((lines) => lines.length > 0).map((lines) => lines.join("\n"));
  return `${texts.join("\n\n")}\n`;
}

function guestTable({ guests, counters }: RunDocument): string[] {
  const isVolatile = counters.pages_volatile > 0;
  const row = (name: string, node: string, of: Omit<GuestRow, "name" | "source" | "node">) => [
    name,
    node,
    count(of.pages),
    count(of.pages_shared),
    count(of.pages_sharing),
    count(of.pages_unshared),
    ...(isVolatile ? [count(of.pages_volatile)] : []),
    size(of.saved_bytes),
    percent(of.saved_bytes, of.pages * PAGE_SIZE),
  ];
  const header = ["guest", "node", "pages", "shared", "sharing", "unshared"];
  return table([
    [...header, ...(isVolatile ? ["volatile"] : []), "saved", ""],
    ...guests.map((guest) => row(shortened(guest.name), String(guest.node), guest)),
    row("all", "", allGuests(guests)),
  ]);
}

function allGuests(guests: readonly GuestRow[]): Omit<GuestRow, "name" | "source" | "node"> {
  const sum = (key: Exclude<keyof GuestRow, "name" | "source" | "node">): number =>
    guests.reduce((total, guest) => total + guest[key], 0);
  return {
    bytes: sum("bytes"),
    padded_bytes: sum("padded_bytes"),
    pages: sum("pages"),
    pages_shared: sum("pages_shared"),
    pages_sharing: sum("pages_sharing"),
    pages_unshared: sum("pages_unshared"),
    pages_volatile: sum("pages_volatile"),
    saved_bytes: sum("saved_bytes"),
  };
}

function histogramTable({ histogram }: RunDocument): string[] {
  if (histogram.length === 0) return [];
  return table([
    ["copies", "contents", "pages"],
    ...histogram.map(({ copies_min: min, copies_max: max, contents, pages }) => [
      min === max ? count(min) : `${count(min)}-${count(max)}`,
      count(contents),
      count(pages),
    ]),
  ]);
}

function summary(document: RunDocument): string[] {
  const { pages, zero_pages: zero, saved_bytes: saved } = document;
  const all = pages * PAGE_SIZE;
  return [
    ...facts("merged", mergedLines(document)),
    ...facts("scanned", rateLines(document)),
    ...facts("verified", verifyLines(document)),
    ...facts("saved", [
      `${size(saved)} of ${size(all)} (${percent(saved, all)}); ${counted(zero, "page")} all zeros`,
    ]),
    "",
    "How to read it: shared = frames that several pages use, sharing = pages that",
    "need no frame of their own any more; saved = pages_sharing x 4 KiB.",
  ];
}

/** Lines beside what they are about. */
function facts(about: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => (i === 0 ? about : "").padEnd(10) + line);
}

function mergedLines({ settled, interrupted, passes, timing }: RunDocument): string[] {
  const { first_pass_seconds: first, merge_pass_seconds: second, settle_seconds: all } = timing;
  const parts = [
    ...(first === null ? [] : [`first pass ${seconds(first)}`]),
    ...(second === null ? [] : [`second ${seconds(second)}`]),
  ];
  const detail = parts.length > 0 ? ` (${parts.join(", ")})` : "";
  const after = `after ${counted(passes, "pass", "passes")}`;
  if (settled && all !== null) return [`settled ${after} in ${seconds(all)}${detail}`];
  return [`${interrupted ? "interrupted" : "stopped"} ${after}, not settled${detail}`];
}

function rateLines({ timing, kernels, hash }: RunDocument): string[] {
  const { scan_pages_per_second: raw, effective_pages_per_second: effective } = timing;
  if (raw === null || effective === null) return ["nothing"];
  return [
    `${rate(raw)} raw: hashed (${hash}, ${kernels})`,
    `${rate(effective)} effective: visited, hashed or not`,
  ];
}

function verifyLines({ verify, check, timing, options, interrupted }: RunDocument): string[] {
  const reason = options.verify ? "" : " (--no-verify)";
  const pages = verify === null ? `no pages${reason}` : comparedLine(verify, timing.verify_seconds);
  const audit = check === "skipped" ? "no audit of the engine" : `audit of the engine: ${check}`;
  return [pages, audit, ...(interrupted ? ["INTERRUPTED: this is what is known"] : [])];
}

function comparedLine(
  { pages, mismatches }: { readonly pages: number; readonly mismatches: number },
  took: number | null,
): string {
  const time = took === null ? "" : ` in ${seconds(took)}`;
  const found = counted(mismatches, "mismatch", "mismatches");
  return `${counted(pages, "page")} read back and compared${time}: ${found}`;
}

/** Columns as wide as they must be; the first to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const columns = rows[0] ?? [];
  const widths = columns.map((_, i) => Math.max(...rows.map((row) => (row[i] ?? "").length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  ")
      .trimEnd(),
  );
}

function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function size(bytes: number): string {
  if (bytes < MIB) return `${count(bytes / 1024)} KiB`;
  return bytes < 1024 * MIB
    ? `${(bytes / MIB).toFixed(1)} MiB`
    : `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

function rate(pages: number): string {
  return `${count(pages)} pages/s (${count((pages * PAGE_SIZE) / MIB)} MiB/s)`;
}

function seconds(value: number): string {
  return value < 1 ? `${(value * 1000).toFixed(value < 0.01 ? 1 : 0)} ms` : `${value.toFixed(2)} s`;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? "0%" : `${((100 * part) / whole).toFixed(1)}%`;
}

function shortened(name: string): string {
  const printable = name.replace(/\p{Cc}/gu, "?");
  return printable.length <= NAME_MAX ? printable : `${printable.slice(0, NAME_MAX - 3)}...`;
}
