/**
 * text - what a stress came to, for people. No line is wider than 80 columns.
 */

import { printable } from "../printable.js";
import { facts } from "../screen/facts.js";
import { count, counted, duration, size } from "../screen/figures.js";
import type { StressDocument } from "./document.js";

/** The whole output, with its last line break. */
export function renderStress(document: StressDocument): string {
  const lines = [
    ...facts("ended", endedLines(document)),
    ...facts("actors", [actorsLine(document)]),
    ...facts("guests", guestLines(document)),
    ...facts("merging", mergingLines(document)),
    ...facts("moves", moveLines(document)),
    ...facts("blocks", [blockLine(document)]),
    ...facts("checked", checkedLines(document)),
    ...facts("memory", memoryLines(document)),
    ...facts("plan", [`seed ${document.seed}, SHA-256 ${document.plan_digest.slice(0, 16)}...`]),
  ];
  return `${lines.join("\n")}\n`;
}

function endedLines({ seconds, interrupted, failure }: StressDocument): string[] {
  const after = `after ${duration(seconds)}`;
  if (failure !== null) return [`FAILED ${after}: ${printable(failure.message)}`];
  return [interrupted ? `INTERRUPTED ${after}; all that was begun was checked` : after];
}

function actorsLine({ actors }: StressDocument): string {
  const { nodes, guests, vcpus, ksmd, migrators } = actors;
  return [
    counted(vcpus, "vCPU"),
    `of ${counted(guests, "guest")}`,
    `on ${counted(nodes, "node")},`,
    `${ksmd} ksmd,`,
    counted(migrators, "migrator"),
  ].join(" ");
}

function guestLines({ operations, rates, latency_ms: latency }: StressDocument): string[] {
  const { total, writes, reads, pins } = operations;
  const kinds = `${count(writes)} writes, ${count(reads)} reads, ${count(pins)} pins`;
  const ms = (value: number): string => duration(value / 1000);
  return [
    `${count(total)} operations (${count(rates.operations)}/s): ${kinds}`,
    ...(latency === null
      ? []
      : [
          `each took ${ms(latency.p50)} (p50), ${ms(latency.p99)} (p99), ` +
            `${ms(latency.p999)} (p99.9), ${ms(latency.max)} at most`,
        ]),
  ];
}

function mergingLines(document: StressDocument): string[] {
  const { merges, cow_breaks: copies, rates, unmerges, knob_switches: switches } = document;
  const times = counted(unmerges.everything, "time");
  const regions = counted(unmerges.regions, "region");
  return [
    `${count(merges)} pages merged (${count(rates.merges)}/s), ` +
      `${count(copies)} merged pages copied (${count(rates.cow_breaks)}/s)`,
    `everything unmerged ${times}, ${regions}; ${counted(switches, "knob switch", "knob switches")}`,
  ];
}

function moveLines({ migrations, rates }: StressDocument): string[] {
  const { succeeded, shared, failed } = migrations;
  const reasons = Object.entries(failed)
    .filter(([, frames]) => frames > 0)
    .map(([reason, frames]) => `${count(frames)} ${reason}`);
  return [
    `${count(succeeded)} frames moved (${count(rates.migrations)}/s), ${count(shared)} of them ` +
      "asked for because several merged pages shared each",
    ...(reasons.length > 0 ? [`not moved: ${reasons.join(", ")}`] : []),
  ];
}

function blockLine({ blocks }: StressDocument): string {
  const { removed, added, refused } = blocks;
  const asked = refused === 0 ? "" : `; ${counted(refused, "change")} refused for the moment`;
  return `${counted(removed, "block")} taken away, ${count(added)} added${asked}`;
}

function checkedLines({ checks, mismatches }: StressDocument): string[] {
  return [
    `${counted(mismatches, "mismatch", "mismatches")}; ` +
      `${count(checks.clean)} of ${counted(checks.done, "audit")} clean`,
  ];
}

function memoryLines({ rss_bytes, interrupted, failure }: StressDocument): string[] {
  const { quarter, end } = rss_bytes;
  if (quarter === null) return [`${size(end)} resident at the end`];
  const when = interrupted || failure !== null ? "at the end" : "in the last";
  return [`${size(quarter)} resident at most in the first quarter, ${size(end)} ${when}`];
}
