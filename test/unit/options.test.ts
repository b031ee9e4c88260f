/** Options, knobs and calls that are refused: each with its code and its numbers. */
import { describe, expect, it } from "vitest";
import { createEngine, type EngineOptions, ERROR_CODES, type Knobs } from "../../src/index.js";
import { KNOB_DEFAULTS } from "../../src/ksm/knobs.js";
import { resolveOptions } from "../../src/machine/options.js";
import { codeOf, PAGE } from "./view.js";

const MIB = 2 ** 20;
type Wrong = Readonly<Record<string, readonly unknown[]>>;

const WRONG_NUMBERS: Wrong = {
  nodes: [0, 65, 1.5, "2", null],
  memoryPerNode: [0, -1, PAGE - 1, 2 ** 40, Number.NaN],
  blockBytes: [0, 4096, 3 * 65536, 2 ** 31, 65537],
  maxGuestBytes: [0, PAGE - 1, -5, 2 ** 40],
  maxGuests: [0, 65537, 0.5],
  maxVcpus: [0, 2 ** 18 + 1],
  // Two nodes, ksmd and the caller are four threads already.
  maxThreads: [3, 257, "8"],
  seed: [-1, 2 ** 48, 0.5],
  hashBits: [0, 65, 3.5],
  scanTimeout: [-1, 2 ** 31],
  faultTimeout: [-1, 2 ** 31, Number.POSITIVE_INFINITY],
};

describe("options", () => {
  it.each(Object.entries(WRONG_NUMBERS))("%s out of its range is refused", (option, values) => {
    for (const value of values) {
      const options = { nodes: 2, memoryPerNode: MIB, [option]: value } as EngineOptions;
      expect(() => resolveOptions(options), `${option}: ${value}`).toThrow(
        expect.objectContaining({
          code: "PAGEFOLD_BAD_OPTION",
          details: expect.objectContaining({ option, value }),
        }),
      );
    }
  });

  it("kernels and hash are one of their names", () => {
    for (const options of [
      { kernels: "sse2" },
      { kernels: "" },
      { hash: "md5" },
      { kernels: "xxhash-wasm", hash: "xxh3-64" },
    ]) {
      expect(codeOf(() => resolveOptions(options as EngineOptions))).toBe("PAGEFOLD_BAD_OPTION");
    }
    for (const kernels of ["auto", "simd", "scalar", "typescript", "xxhash-wasm"] as const) {
      expect(codeOf(() => resolveOptions({ kernels }))).toBeNull();
    }
  });

  it("knobs given with them are checked as by ksm.set", () => {
    for (const ksm of [{ run: 3 }, { maxPageSharing: 1 }, { pagesToScan: -1 }, { nope: 1 }]) {
      expect(codeOf(() => resolveOptions({ ksm: ksm as Partial<Knobs> }))).toBe("EINVAL");
    }
    const { knobs } = resolveOptions({ ksm: { maxPageSharing: 2 } });
    expect(knobs).toEqual({ ...KNOB_DEFAULTS, maxPageSharing: 2 });
  });

  it("have defaults, and small memories have small blocks", () => {
    const { sizes, workers, blocksPerNode } = resolveOptions({});
    expect({ workers, nodes: sizes.nodes, blocks: sizes.blocks }).toEqual({
      ...{ workers: true, nodes: 1, blocks: 1 },
    });
    expect(blocksPerNode).toBe(1);
    const roomy = resolveOptions({
      nodes: 2,
      memoryPerNode: 100 * MIB,
      maxMemoryPerNode: 300 * MIB,
    });
    expect([roomy.blocksPerNode, roomy.sizes.blocks]).toEqual([2, 10]);
    const frames = (options: EngineOptions): number => {
      const { blocks, framesPerBlockShift } = resolveOptions(options).sizes;
      return blocks << framesPerBlockShift;
    };
    // Rounded up to whole blocks.
    expect(frames({ memoryPerNode: 1 + 64 * 1024, blockBytes: 64 * 1024 })).toBe(32);
    expect(frames({ memoryPerNode: 100 * MIB, nodes: 2 })).toBe((2 * 128 * MIB) / PAGE);
    expect(frames({ memoryPerNode: 10_000 })).toBe(16);
  });

  it("an engine that cannot be created is rejected with the same error", async () => {
    await expect(createEngine({ nodes: 0 })).rejects.toThrow(
      expect.objectContaining({ code: "PAGEFOLD_BAD_OPTION" }),
    );
  });
});

describe("knobs", () => {
  const RANGES: Record<keyof Knobs, readonly [name: string, min: number, max: number]> = {
    run: ["run", 0, 2],
    pagesToScan: ["pages_to_scan", 0, 2 ** 31 - 1],
    sleepMillisecs: ["sleep_millisecs", 0, 2 ** 31 - 1],
    maxPageSharing: ["max_page_sharing", 2, 2 ** 31 - 1],
    mergeAcrossNodes: ["merge_across_nodes", 0, 1],
  };

  it.each(Object.entries(RANGES))(
    "%s takes integers of its range",
    async (knob, [name, min, max]) => {
      const engine = await createEngine({ workers: false, memoryPerNode: 64 * 1024 });
      for (const value of [min, max, min + 1]) {
        await engine.ksm.set({ [knob]: value });
        expect(engine.ksm.knobs[knob as keyof Knobs]).toBe(value);
      }
      const before = engine.ksm.knobs;
      for (const value of [min - 1, max + 1, 2.5, "2", null, Number.NaN]) {
        const call = engine.ksm.set({ [knob]: value } as Partial<Knobs>);
        await expect(call, `${name} = ${value}`).rejects.toThrow(
          expect.objectContaining({ code: "EINVAL", details: { knob: name, value } }),
        );
      }
      expect(engine.ksm.knobs).toEqual(before);
      await engine.close();
    },
  );

  it("a call changes all of them or none", async () => {
    const engine = await createEngine({ workers: false, memoryPerNode: 64 * 1024 });
    await expect(engine.ksm.set({ pagesToScan: 5, run: 7 as 1 })).rejects.toThrow();
    expect(engine.ksm.knobs).toEqual(KNOB_DEFAULTS);
    await engine.ksm.set({});
    expect(engine.ksm.knobs).toEqual(KNOB_DEFAULTS);
    await engine.close();
  });
});

describe("calls", () => {
  it("tables that are full say so", async () => {
    const engine = await createEngine({
      ...{ workers: false, memoryPerNode: 64 * 1024, maxGuests: 3, maxVcpus: 2 },
      maxGuestBytes: 4 * MIB,
    });
    const guest = engine.createGuest({ bytes: 3 * MIB });
    const room = { code: "PAGEFOLD_NO_ROOM" };
    expect(() => engine.createGuest({ bytes: 64 * MIB })).toThrow(
      expect.objectContaining({ ...room, details: expect.objectContaining({ pages: 16384 }) }),
    );
    const others = [1, 2].map(() => engine.createGuest({ bytes: PAGE }));
    expect(() => engine.createGuest({ bytes: PAGE })).toThrow(
      expect.objectContaining({ ...room, details: { guests: 3 } }),
    );
    guest.write(0, Uint8Array.of(1));
    const vcpu = others[0].vcpu();
    expect(() => others[1].vcpu()).toThrow(
      expect.objectContaining({ ...room, details: { vcpus: 2 } }),
    );
    // A vCPU that was given back serves its guest again.
    vcpu.close();
    others[0].vcpu().close();
    expect(engine.stats().vcpus).toBe(2);
    await engine.close();
  });

  it("guests need bytes and a node that exists", async () => {
    const engine = await createEngine({ workers: false, nodes: 2, memoryPerNode: 64 * 1024 });
    for (const bytes of [0, -1, 1.5, Number.NaN, "4096", undefined]) {
      expect(codeOf(() => engine.createGuest({ bytes: bytes as number }))).toBe(
        "PAGEFOLD_BAD_OPTION",
      );
    }
    for (const node of [-1, 2, 0.5]) {
      expect(codeOf(() => engine.createGuest({ bytes: 1, node }))).toBe("PAGEFOLD_BAD_OPTION");
    }
    const nodes = [0, 1, 2].map(() => engine.createGuest({ bytes: 1 }).node);
    expect(nodes).toEqual([0, 1, 0]);
    expect(engine.guests.map(({ bytes, name }) => [bytes, name])).toEqual([
      [PAGE, "guest0"],
      [PAGE, "guest1"],
      [PAGE, "guest2"],
    ]);
    await engine.close();
  });

  it("a scan takes a number of passes, outside of sections, while ksmd runs", async () => {
    const engine = await createEngine({ workers: false, memoryPerNode: 64 * 1024 });
    const vcpu = engine.createGuest({ bytes: PAGE }).vcpu();
    expect(codeOf(() => engine.ksm.scanSync(1))).toBe("PAGEFOLD_NOT_RUNNING");
    await engine.ksm.set({ run: 1 });
    for (const passes of [0, -1, 1.5, Number.NaN, "1"]) {
      expect(codeOf(() => engine.ksm.scanSync(passes as number))).toBe("EINVAL");
    }
    expect(codeOf(() => vcpu.run(() => engine.ksm.scanSync(1)))).toBe("PAGEFOLD_IN_SECTION");
    expect(codeOf(() => vcpu.run(() => vcpu.close()))).toBe("PAGEFOLD_IN_SECTION");
    expect(engine.ksm.scanSync(3).full_scans).toBe(3);
    await engine.close();
  });

  it("scanSync is for engines without workers", async () => {
    const engine = await createEngine({ workers: false, memoryPerNode: 64 * 1024 });
    expect(engine.ksm.knobs).toEqual(KNOB_DEFAULTS);
    await engine.close();
    expect(codeOf(() => engine.ksm.scanSync(1))).toBe("PAGEFOLD_CLOSED");
  });

  it("every code that is thrown is explained", () => {
    for (const [code, meaning] of Object.entries(ERROR_CODES)) {
      expect(code).toMatch(/^(PAGEFOLD_[A-Z_]+|EINVAL|EBUSY|ENOMEM)$/);
      expect(meaning.length).toBeGreaterThan(10);
    }
  });
});
