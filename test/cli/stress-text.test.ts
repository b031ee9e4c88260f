/**
 * What a stress tells people, no wider than a terminal of 80 columns.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { width } from "../../dist/cli/screen/columns.js";
import type { StressDocument } from "../../dist/cli/stress/document.js";
import { renderStress } from "../../dist/cli/stress/text.js";

const FAILED: NonNullable<StressDocument["failure"]> = {
  ...{ kind: "mismatch", page: null, recent: [], problems: [], events: [] },
  message: "guest 1: page 77 (version 12) is wrong at byte 40",
};

function document(of: Partial<StressDocument> = {}, figure = 123_456_789): StressDocument {
  const text: Partial<StressDocument> = {
    ...{ seed: 7, plan_digest: "0123456789abcdef".repeat(4), seconds: 30.04, interrupted: false },
    actors: { nodes: 2, guests: 4, vcpus: 8, ksmd: 1, migrators: 1 },
    operations: { total: 3 * figure, writes: figure, reads: figure, pins: figure },
    rates: { operations: figure, merges: figure, cow_breaks: figure, migrations: figure },
    latency_ms: { p50: 0.0004, p99: 0.0213, p999: 4.41, max: 213.4 },
    ...{ merges: figure, cow_breaks: figure, knob_switches: figure },
    unmerges: { everything: 1, regions: figure, refused: 0 },
    migrations: {
      ...{ succeeded: figure, shared: figure },
      failed: { pinned: figure, busy: 0, no_frame: 1, raced: figure, timeout: figure },
    },
    blocks: { removed: figure, added: figure, refused: 1 },
    checks: { done: 15, clean: 15 },
    ...{ mismatches: 0, failure: null },
    rss_bytes: { quarter: figure, end: figure },
    ...of,
  };
  return text as StressDocument;
}

describe("the text of a stress", () => {
  it("says who did what, and what was found", () => {
    expect(renderStress(document({}, 1234))).toMatchInlineSnapshot(`
      "ended     after 30.04 s
      actors    8 vCPUs of 4 guests on 2 nodes, 1 ksmd, 1 migrator
      guests    3,702 operations (1,234/s): 1,234 writes, 1,234 reads, 1,234 pins
                each took 0.4 us (p50), 21 us (p99), 4.4 ms (p99.9), 213 ms at most
      merging   1,234 pages merged (1,234/s), 1,234 merged pages copied (1,234/s)
                everything unmerged 1 time, 1,234 regions; 1,234 knob switches
      moves     1,234 frames moved (1,234/s), 1,234 of them asked for because several
                merged pages shared each
                not moved: 1,234 pinned, 1 no_frame, 1,234 raced, 1,234 timeout
      blocks    1,234 blocks taken away, 1,234 added; 1 change refused for the moment
      checked   0 mismatches; 15 of 15 audits clean
      memory    1 KiB resident at most in the first quarter, 1 KiB in the last
      plan      seed 7, SHA-256 0123456789abcdef...
      "
    `);
  });

  it("says how it ended", () => {
    const lineOf = (of: Partial<StressDocument>) => renderStress(document(of)).split("\n")[0];
    expect(lineOf({ interrupted: true })).toMatchInlineSnapshot(
      `"ended     INTERRUPTED after 30.04 s; all that was begun was checked"`,
    );
    expect(lineOf({ failure: FAILED })).toMatchInlineSnapshot(
      `"ended     FAILED after 30.04 s: guest 1: page 77 (version 12) is wrong at byte"`,
    );
    const ofMemory = (of: Partial<StressDocument>) =>
      renderStress(document(of, 2 ** 30)).match(/^memory .*$/m)?.[0];
    const early = "memory    1.00 GiB resident at most in the first quarter, 1.00 GiB at the end";
    expect(ofMemory({})).toBe(early.replace("at the end", "in the last"));
    expect(ofMemory({ interrupted: true })).toBe(early);
    expect(ofMemory({ failure: FAILED })).toBe(early);
    const text = renderStress(document({ latency_ms: null, rss_bytes: { quarter: null, end: 1 } }));
    expect(text).not.toContain("p99");
    expect(text).toMatch(/^memory {4}0 KiB resident at the end$/m);
  });

  it("is never wider than 80 columns", () => {
    fc.assert(
      fc.property(
        fc.nat(2 ** 40),
        fc.string({ unit: "grapheme", maxLength: 300 }),
        (figure, text) => {
          const failure = { ...FAILED, message: text };
          const lines = renderStress(document({ failure }, figure)).split("\n");
          for (const line of lines) expect(width(line)).toBeLessThanOrEqual(80);
        },
      ),
    );
  });
});
