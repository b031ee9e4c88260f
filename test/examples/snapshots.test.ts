/** The snapshot store of examples/snapshots: what it gives back, what it costs, what it refuses. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
// The assembler that AssemblyScript brings along.
import binaryen from "binaryen";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
// @ts-expect-error: plain JavaScript, for embedders to copy
import { createLife, plant } from "../../examples/snapshots/life.mjs";
// @ts-expect-error: as above
import { SnapshotStore } from "../../examples/snapshots/store.mjs";
import { EXAMPLES, node } from "./child.js";

const PAGE = 4096;
const MIB = 2 ** 20;

interface Range {
  readonly address: number;
  readonly length: number;
}

interface Store {
  readonly names: string[];
  put(name: string, source: unknown): Promise<unknown>;
  get(name: string): Uint8Array;
  restore(name: string, memory: WebAssembly.Memory): void;
  diff(first: string, second: string): Range[];
  delete(name: string): Promise<void>;
  stats(): { snapshots: number; snapshotBytes: number; frameBytes: number };
  close(): Promise<void>;
}

let store: Store;
beforeEach(async () => {
  store = await SnapshotStore.open({ memoryBytes: 2 * MIB, maxSnapshots: 16 });
});
afterEach(() => store.close());

/** Pages filled with one byte each. */
function pagesOf(...values: number[]): Uint8Array {
  return Uint8Array.from({ length: values.length * PAGE }, (_, i) => values[Math.floor(i / PAGE)]);
}

const frames = (): number => store.stats().frameBytes / PAGE;

function coded(code: string, message: RegExp) {
  return expect.objectContaining({ code, message: expect.stringMatching(message) });
}

describe("put and get", () => {
  it("keep the bytes as they were, in as many frames as there are distinct pages", async () => {
    const first = pagesOf(1, 2, 3, 0);
    expect(await store.put("a", first)).toEqual({ name: "a", bytes: 4 * PAGE, pagesWritten: 3 });
    expect(frames()).toBe(3);
    const second = pagesOf(1, 2, 4, 0);
    await store.put("b", second);
    expect(frames()).toBe(4);
    const kept = first.slice();
    first.fill(9);
    expect(Buffer.compare(store.get("a"), kept)).toBe(0);
    expect(Buffer.compare(store.get("b"), second)).toBe(0);
    expect(store.names).toEqual(["a", "b"]);
    expect(store.stats()).toEqual({
      ...{ snapshots: 2, snapshotBytes: 8 * PAGE, frameBytes: 4 * PAGE },
    });
  });

  it("keep what the memory holds at the call, while the instance goes on", async () => {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: false });
    const bytes = new Uint8Array(memory.buffer);
    bytes.fill(7, 0, PAGE);
    const put = store.put("before", memory);
    bytes.fill(8, 0, PAGE);
    await put;
    expect(store.get("before").subarray(0, PAGE)).toEqual(new Uint8Array(PAGE).fill(7));
  });

  it("pages of zeros cost nothing", async () => {
    await store.put("zeros", new Uint8Array(512 * PAGE));
    expect(frames()).toBe(0);
    expect(Buffer.compare(store.get("zeros"), new Uint8Array(512 * PAGE))).toBe(0);
  });

  it.each([0, 1, PAGE - 1, PAGE + 1, 3 * PAGE - 5])("%i bytes", async (length) => {
    const bytes = Uint8Array.from({ length }, (_, i) => (i % 251) + 1);
    await store.put("odd", bytes);
    expect(Buffer.compare(store.get("odd"), bytes)).toBe(0);
    expect(frames()).toBe(Math.ceil(length / PAGE));
  });

  it("refuse what they cannot do", async () => {
    await store.put("a", pagesOf(1));
    await expect(store.put("a", pagesOf(2))).rejects.toThrow(coded("EXISTS", /delete it first/));
    expect(store.get("a")[0]).toBe(1);
    expect(() => store.get("b")).toThrow(coded("NOT_FOUND", /no snapshot b; there are: a$/));
    expect(() => store.diff("a", "b")).toThrow(coded("NOT_FOUND", /b/));
    expect(() => store.delete("b")).toThrow(coded("NOT_FOUND", /b/));
    for (const source of [null, "text", [1, 2], new ArrayBuffer(8), new Uint16Array(8)]) {
      await expect(store.put("c", source)).rejects.toThrow(coded("BAD_SOURCE", /Memory or Uint8/));
    }
    expect(store.names).toEqual(["a"]);
  });

  it("refuse what does not fit, whole, with both numbers", async () => {
    // 512 frames, 64 of them held back.
    const unlike = (pages: number): Uint8Array => {
      return Buffer.concat(
        Array.from({ length: pages }, (_, i) => Buffer.alloc(PAGE, `page ${i}, `)),
      );
    };
    await expect(store.put("many", unlike(449))).rejects.toThrow(
      coded("FULL", /^449 frames are needed and 448 are free; delete snapshots, or open/),
    );
    expect(frames()).toBe(0);
    await store.put("many", unlike(448));
    await expect(store.put("one", unlike(1))).rejects.toThrow(coded("FULL", /^1 frames .* 0 are/));
    await store.delete("many");
    await store.put("one", unlike(1));
    expect(Buffer.compare(store.get("one"), unlike(1))).toBe(0);
  });
});

describe("restore", () => {
  it("writes a memory, which grows", async () => {
    const life = createLife();
    plant(life);
    await store.put("planted", life.memory);
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: false });
    store.restore("planted", memory);
    expect(memory.buffer.byteLength).toBe(9 * 65536);
    const planted = new Uint8Array(life.memory.buffer);
    expect(Buffer.compare(new Uint8Array(memory.buffer), planted)).toBe(0);
  });

  it("leaves nothing of what a memory of the same size held, and does not detach it", async () => {
    await store.put("zeros", new Uint8Array(65536));
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 16, shared: false });
    const bytes = new Uint8Array(memory.buffer).fill(1);
    store.restore("zeros", memory);
    expect(bytes).toEqual(new Uint8Array(65536));
  });

  it("refuses a memory that is larger", async () => {
    await store.put("small", new Uint8Array(65536));
    const memory = new WebAssembly.Memory({ initial: 2, maximum: 16, shared: false });
    expect(() => store.restore("small", memory)).toThrow(
      coded("BAD_TARGET", /has 65536 bytes more than the snapshot small/),
    );
  });
});

describe("diff", () => {
  it.each([
    ["nothing", [1, 2, 3], [1, 2, 3], []],
    ["one page", [1, 2, 3], [1, 9, 3], [{ address: PAGE, length: PAGE }]],
    ["neighbours as one range", [1, 2, 3, 4], [1, 8, 9, 4], [{ address: PAGE, length: 2 * PAGE }]],
    [
      "both ends",
      [1, 2, 3],
      [0, 2, 0],
      [
        { address: 0, length: PAGE },
        { address: 2 * PAGE, length: PAGE },
      ],
    ],
    ["what only one has", [1], [1, 0, 0], [{ address: PAGE, length: 2 * PAGE }]],
  ])("%s", async (_, a, b, ranges) => {
    await store.put("a", pagesOf(...a));
    await store.put("b", pagesOf(...b));
    expect(store.diff("a", "b")).toEqual(ranges);
    expect(store.diff("b", "a")).toEqual(ranges);
    expect(store.diff("a", "a")).toEqual([]);
  });

  it("one byte is enough; the last range ends with the longer snapshot", async () => {
    const bytes = new Uint8Array(2 * PAGE + 100);
    await store.put("a", bytes);
    bytes[PAGE + 17] = 1;
    await store.put("b", bytes);
    expect(store.diff("a", "b")).toEqual([{ address: PAGE, length: PAGE }]);
    await store.put("c", bytes.subarray(0, 2 * PAGE + 99));
    expect(store.diff("b", "c")).toEqual([{ address: 2 * PAGE, length: 100 }]);
  });
});

describe("delete", () => {
  it("gives frames back that nobody shares, and leaves others alone", async () => {
    await store.put("a", pagesOf(1, 2, 3));
    await store.put("b", pagesOf(1, 2, 4));
    await store.delete("a");
    expect(store.names).toEqual(["b"]);
    // 1, 2 and 4, and one of zeros.
    expect(frames()).toBe(4);
    expect(Buffer.compare(store.get("b"), pagesOf(1, 2, 4))).toBe(0);
  });

  it("the guest is used again: a store may put and delete without end", async () => {
    for (let round = 1; round <= 40; round++) {
      await store.put("a", pagesOf(round, round, 0));
      await store.put("b", pagesOf(round, 0, round));
      expect(Buffer.compare(store.get("a"), pagesOf(round, round, 0))).toBe(0);
      expect(Buffer.compare(store.get("b"), pagesOf(round, 0, round))).toBe(0);
      await Promise.all([store.delete("a"), store.delete("b")]);
      expect(frames()).toBe(1);
    }
  });

  it("the smallest guest that fits is taken", async () => {
    await store.put("large", pagesOf(1, 2, 3, 4));
    await store.put("small", pagesOf(5, 6));
    await store.delete("large");
    await store.delete("small");
    await store.put("x", pagesOf(7, 8));
    await store.put("y", pagesOf(7, 8, 9, 10));
    expect(Buffer.compare(store.get("x"), pagesOf(7, 8))).toBe(0);
    expect(Buffer.compare(store.get("y"), pagesOf(7, 8, 9, 10))).toBe(0);
    // Both guests are full: no page of zeros is left.
    expect(frames()).toBe(4);
  });
});

it("closed, it refuses", async () => {
  await store.put("a", pagesOf(1));
  await store.close();
  await expect(store.put("b", pagesOf(1))).rejects.toThrow(/closed/);
});

it("life.wasm is what life.wat says", () => {
  const assembled = binaryen.parseText(readFileSync(join(EXAMPLES, "snapshots/life.wat"), "utf8"));
  const wasm = readFileSync(join(EXAMPLES, "snapshots/life.wasm"));
  expect(Buffer.compare(assembled.emitBinary(), wasm)).toBe(0);
});

it("the demonstration: 41 snapshots cost their distinct pages", async () => {
  const { status, stdout, stderr } = await node(join(EXAMPLES, "snapshots/main.mjs"));
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const expected = `\
stats    41 snapshots of 23,616 KiB in 576 KiB: 144 frames for 144 distinct pages
get      every snapshot is what was put
diff     from 39 to 40: 0x00000 to 0x00fff, 0x2f000 to 0x30fff
restore  generation 20, and 20 steps: 0 differences from 40
delete   every other generation
stats    21 snapshots of 12,096 KiB in 540 KiB: 135 frames for 124 distinct pages
`;
  expect(stdout).toBe(expected);
  expect(readFileSync(join(EXAMPLES, "README.md"), "utf8")).toContain(expected);
});
