/**
 * knobs - what may be set: names, defaults, ranges. Named in /sys/kernel/mm/ksm as in the comments.
 *
 * OWNS    the knob words
 *
 * ksmd alone writes them, when it executes the command (spec 5.9), so a value never changes in mid-batch.
 *
 * INVARIANTS
 *   KNOB-1  max_page_sharing and merge_across_nodes change only while nothing is shared.
 * MODEL   test/unit/options.test.ts (one writer; others read them as statistics)
 */
import { plainLoad, plainStore } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import {
  KNOB_MAX_PAGE_SHARING,
  KNOB_MERGE_ACROSS_NODES,
  KNOB_PAGES_TO_SCAN,
  KNOB_RUN,
  KNOB_SLEEP_MILLISECS,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";

export const RUN_STOP = 0;
export const RUN_MERGE = 1;
export const RUN_UNMERGE = 2;

/** The knobs, as `engine.ksm.set` takes them. */
export interface Knobs {
  /** `run`: 0 stop ksmd and keep what is merged, 1 merge, 2 stop and unmerge everything. */
  run: 0 | 1 | 2;
  /** `pages_to_scan`: pages visited in one batch. */
  pagesToScan: number;
  /** `sleep_millisecs`: pause between batches. */
  sleepMillisecs: number;
  /** `max_page_sharing`: pages that may share one frame; at least 2. */
  maxPageSharing: number;
  /** `merge_across_nodes`: 1 merge pages wherever they lie, 0 only pages that lie on one node. */
  mergeAcrossNodes: 0 | 1;
}

/** The kernel's defaults. */
export const KNOB_DEFAULTS: Readonly<Knobs> = {
  run: 0,
  pagesToScan: 100,
  sleepMillisecs: 20,
  maxPageSharing: 256,
  mergeAcrossNodes: 1,
};

const UINT_MAX = 2 ** 31 - 1;

interface KnobRule {
  readonly word: number;
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

const RULES: Readonly<Record<keyof Knobs, KnobRule>> = {
  run: { word: KNOB_RUN, name: "run", min: 0, max: 2 },
  pagesToScan: { word: KNOB_PAGES_TO_SCAN, name: "pages_to_scan", min: 0, max: UINT_MAX },
  sleepMillisecs: { word: KNOB_SLEEP_MILLISECS, name: "sleep_millisecs", min: 0, max: UINT_MAX },
  maxPageSharing: { word: KNOB_MAX_PAGE_SHARING, name: "max_page_sharing", min: 2, max: UINT_MAX },
  mergeAcrossNodes: { word: KNOB_MERGE_ACROSS_NODES, name: "merge_across_nodes", min: 0, max: 1 },
};

/** The knobs that are given, those that are undefined left out; EINVAL for an unknown one or a value out of range. */
export function givenKnobs(
  knobs: { readonly [K in keyof Knobs]?: Knobs[K] | undefined },
): Partial<Knobs> {
  if (typeof knobs !== "object" || knobs === null) {
    throw new PagefoldError(
      "EINVAL",
      `knobs are set by an object such as { run: 1 }, not by ${knobs}`,
    );
  }
  const given = Object.entries(knobs).filter(([, value]) => value !== undefined);
  for (const [key, value] of given) checkKnob(key, value);
  return Object.fromEntries(given);
}

function checkKnob(key: string, value: number | undefined): void {
  const rule = Object.hasOwn(RULES, key) ? RULES[key as keyof Knobs] : undefined;
  if (rule === undefined) {
    const known = Object.keys(RULES).join(", ");
    throw new PagefoldError("EINVAL", `there is no knob ${key}; the knobs are ${known}`, {
      knob: key,
    });
  }
  if (value === undefined || !Number.isInteger(value) || value < rule.min || value > rule.max) {
    throw new PagefoldError(
      "EINVAL",
      `${rule.name} takes an integer from ${rule.min} to ${rule.max}, not ${value}`,
      { knob: rule.name, value },
    );
  }
}

export function readKnobs(memory: Memory): Knobs {
  const read = (rule: KnobRule) => plainLoad(memory.control, memory.layout.knobs + rule.word);
  return {
    run: read(RULES.run) as Knobs["run"],
    pagesToScan: read(RULES.pagesToScan),
    sleepMillisecs: read(RULES.sleepMillisecs),
    maxPageSharing: read(RULES.maxPageSharing),
    mergeAcrossNodes: read(RULES.mergeAcrossNodes) as Knobs["mergeAcrossNodes"],
  };
}

/** Writes knobs that givenKnobs has accepted; by the thread that runs ksmd. */
export function writeKnobs(memory: Memory, knobs: Partial<Knobs>): void {
  for (const [key, value] of Object.entries(knobs)) {
    plainStore(memory.control, memory.layout.knobs + RULES[key as keyof Knobs].word, value);
  }
}

export function knobMaxPageSharing(memory: Memory): number {
  return plainLoad(memory.control, memory.layout.knobs + KNOB_MAX_PAGE_SHARING);
}

export function knobMergeAcrossNodes(memory: Memory): boolean {
  return plainLoad(memory.control, memory.layout.knobs + KNOB_MERGE_ACROSS_NODES) === 1;
}
