/** Encodings whose bits run out: what is told apart, and for how long. */
import { describe, expect, it } from "vitest";
import {
  makeShootdownEntry,
  SHOOTDOWN_ALL,
  shootdownEntryGfn,
  shootdownEntryIsFor,
  vcpuHasSeen,
  vcpuInside,
} from "../../src/base/layout.js";

describe("a ring entry of a shootdown", () => {
  it.each([0, 1, 255, 256, 2 ** 21, 2 ** 22 - 1, 2 ** 31 - 1, -1, -(2 ** 31)])(
    "is for its own number %i, and for none that a late initiator may be taken for",
    (seq) => {
      const entry = makeShootdownEntry(1, seq);
      expect(shootdownEntryIsFor(entry, seq)).toBe(true);
      for (const ahead of [1, 8, 256, 2 ** 16, 2 ** 21]) {
        expect(shootdownEntryIsFor(entry, (seq + ahead) | 0)).toBe(false);
      }
    },
  );

  it("tells one TLB entry from all", () => {
    expect(shootdownEntryGfn(makeShootdownEntry(511, 7))).toBe(511);
    expect(shootdownEntryGfn(makeShootdownEntry(513, 7))).toBe(1);
    expect(shootdownEntryGfn(makeShootdownEntry(SHOOTDOWN_ALL, 7))).toBe(SHOOTDOWN_ALL);
  });
});

describe("what a vCPU has seen", () => {
  it.each([0, 2 ** 29, 2 ** 30 - 1, 2 ** 30, -1])("wraps: around number %i", (seq) => {
    expect(vcpuHasSeen(vcpuInside(seq), seq)).toBe(true);
    expect(vcpuHasSeen(vcpuInside(seq), (seq + 1) | 0)).toBe(false);
    expect(vcpuHasSeen(vcpuInside((seq + 5) | 0), seq)).toBe(true);
  });
});
