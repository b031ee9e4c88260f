/** Guest bytes against a plain Uint8Array, with merging going on in between. */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest, type Vcpu } from "../../src/index.js";
import { codeOf, PAGE } from "./view.js";

const PAGES = 12;
const BYTES = PAGES * PAGE;
const GIB = 2 ** 30;

const address = fc.oneof(
  fc.nat(BYTES - 1),
  // Close to a page border.
  fc.tuple(fc.nat(PAGES), fc.integer({ min: -5, max: 5 })).map(([page, by]) => {
    return Math.min(BYTES - 1, Math.max(0, page * PAGE + by));
  }),
);
const length = fc.oneof(fc.nat(9), fc.nat(3 * PAGE), fc.constant(PAGE));
const kind = fc.constantFrom(
  ...(["write", "fill", "page", "copy", "read", "load8", "load32", "store8"] as const),
  ...(["store32", "pin", "scan", "unmerge"] as const),
);
const operation = fc.record({
  kind,
  address,
  length,
  value: fc.integer(),
  inSection: fc.boolean(),
});
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

/** An engine's guest, and what its bytes must be. */
class Twin {
  readonly bytes = Buffer.alloc(BYTES);
  readonly vcpu: Vcpu;

  constructor(
    readonly engine: Engine,
    readonly guest: EngineGuest,
  ) {
    this.vcpu = guest.vcpu();
  }

  async apply(operation: Operation): Promise<void> {
    const { value, inSection } = operation;
    const at = operation.address;
    const end = Math.min(BYTES, at + operation.length);
    switch (operation.kind) {
      case "scan":
        this.engine.ksm.scanSync(1 + (at % 2));
        break;
      case "unmerge":
        await this.engine.ksm.set({ run: 2 });
        await this.engine.ksm.set({ run: 1 });
        break;
      case "pin":
        this.pin(at, Math.max(at + 1, end), value);
        break;
      case "copy":
        this.copyPage(at, value);
        break;
      default:
        if (inSection) this.vcpu.run((vcpu) => this.access(vcpu, operation, at, end));
        else this.access(this.vcpu, operation, at, end);
    }
  }

  private access(vcpu: Vcpu, { kind, value }: Operation, at: number, end: number): void {
    switch (kind) {
      case "write": {
        const source = Uint8Array.from({ length: end - at }, (_, i) => value + i * 7);
        vcpu.write(at, source);
        this.bytes.set(source, at);
        break;
      }
      case "fill":
        vcpu.fill(at, end - at, value & 1);
        this.bytes.fill(value & 1, at, end);
        break;
      case "page":
        // Few contents, so that there is something to merge.
        vcpu.fill(at - (at % PAGE), PAGE, value & 3);
        this.bytes.fill(value & 3, at - (at % PAGE), at - (at % PAGE) + PAGE);
        break;
      case "read":
        expect(this.bytes.subarray(at, end).equals(vcpu.read(at, end - at))).toBe(true);
        break;
      case "load8":
        expect(vcpu.load8(at)).toBe(this.bytes[at]);
        break;
      case "store8":
        vcpu.store8(at, value);
        this.bytes[at] = value;
        break;
      case "load32":
        expect(vcpu.load32(word(at))).toBe(this.bytes.readInt32LE(word(at)));
        break;
      case "store32":
        vcpu.store32(word(at), value);
        this.bytes.writeInt32LE(value | 0, word(at));
        break;
    }
  }

  private pin(at: number, end: number, value: number): void {
    const pin = this.guest.pin(at, end - at);
    for (const page of pin.pages) {
      const { address, bytes } = page;
      expect(this.bytes.subarray(address, address + bytes.length).equals(bytes)).toBe(true);
      bytes[bytes.length - 1] = value;
      this.bytes[address + bytes.length - 1] = value;
    }
    this.engine.ksm.scanSync(2);
    pin.release();
  }

  private copyPage(at: number, value: number): void {
    const from = at - (at % PAGE);
    const to = ((value >>> 0) % PAGES) * PAGE;
    this.vcpu.write(to, this.vcpu.read(from, PAGE));
    this.bytes.copyWithin(to, from, from + PAGE);
  }
}

function word(address: number): number {
  return Math.min(address, BYTES - 4);
}

async function play(operations: readonly Operation[], hashBits: number): Promise<void> {
  const engine = await createEngine({
    ...{ workers: false, memoryPerNode: 64 * 1024, hashBits, maxGuests: 2, maxThreads: 3 },
    ksm: { run: 1, maxPageSharing: 3 },
  });
  const twin = new Twin(engine, engine.createGuest({ bytes: BYTES }));
  for (const operation of operations) await twin.apply(operation);
  expect(twin.bytes.equals(twin.guest.read(0, BYTES))).toBe(true);
  expect((await engine.check()).problems).toEqual([]);
  await engine.close();
}

describe("guest bytes", () => {
  it.each([64, 4])(
    "are those of a plain array, whatever is merged (%i-bit hashes)",
    async (bits) => {
      const operations = fc.array(operation, { minLength: 20, maxLength: 120, size: "max" });
      await fc.assert(
        fc.asyncProperty(operations, (all) => play(all, bits)),
        { numRuns: 60 },
      );
    },
  );
});

describe("a sparse guest of more than 4 GiB", async () => {
  const engine = await createEngine({
    ...{ workers: false, memoryPerNode: 2 ** 20, maxGuestBytes: 6 * GIB, maxGuests: 1 },
    ksm: { run: 1 },
  });
  afterAll(() => engine.close());
  const guest = engine.createGuest({ bytes: 5 * GIB + 1 });
  const vcpu = guest.vcpu();
  const AT = [0, GIB, 2 * GIB - 4, 2 * GIB, 4 * GIB - 4, 4 * GIB, 4 * GIB + 8, 5 * GIB - 4];

  it("is a whole number of pages", () => {
    expect(guest.bytes).toBe(5 * GIB + PAGE);
    expect(guest.read(5 * GIB, PAGE)).toEqual(new Uint8Array(PAGE));
    expect(engine.stats().frames.used).toBe(0);
  });

  it.each([false, true])("keeps words apart at any address (in a section: %s)", (inSection) => {
    const all = (): void => {
      AT.forEach((at, i) => {
        vcpu.store32(at, -1 - i);
      });
      AT.forEach((at, i) => {
        expect(vcpu.load32(at)).toBe(-1 - i);
        expect(vcpu.load8(at)).toBe(255 - i);
      });
      // Across the borders, and across the one at 4 GiB.
      for (const at of [PAGE - 1, 2 * GIB - 2, 4 * GIB - 1, 4 * GIB - 3, 5 * GIB - 2]) {
        vcpu.store32(at, 0x12345678);
        expect(vcpu.load32(at)).toBe(0x12345678);
        vcpu.store8(at + 3, 0xfe);
        expect(vcpu.load32(at)).toBe(0xfe345678 | 0);
        vcpu.store32(at, 0);
      }
    };
    if (inSection) vcpu.run(all);
    else all();
  });

  it("merges pages that lie gigabytes apart", () => {
    const text = Buffer.alloc(3 * PAGE, "far");
    for (const at of [0, 2 * GIB, 4 * GIB]) vcpu.write(at, text);
    const { pages_shared } = engine.ksm.scanSync(3);
    expect(pages_shared).toBeGreaterThanOrEqual(3);
    for (const at of [0, 2 * GIB, 4 * GIB]) {
      expect(text.equals(vcpu.read(at, text.length))).toBe(true);
    }
  });

  it("has no addresses below 0, whatever its last pages hold", () => {
    vcpu.run(() => {
      for (const at of [4 * GIB - PAGE, 4 * GIB - 2 * PAGE, 2 * GIB]) {
        vcpu.store32(at, 0x5ec7e7);
        const negative = at - 4 * GIB;
        expect(codeOf(() => vcpu.load32(negative))).toBe("PAGEFOLD_BAD_ADDRESS");
        expect(codeOf(() => vcpu.load8(negative))).toBe("PAGEFOLD_BAD_ADDRESS");
        expect(codeOf(() => vcpu.store32(negative, 1))).toBe("PAGEFOLD_BAD_ADDRESS");
        expect(codeOf(() => vcpu.store8(negative, 1))).toBe("PAGEFOLD_BAD_ADDRESS");
        expect(vcpu.load32(at)).toBe(0x5ec7e7);
      }
    });
  });
});

describe("bad addresses", async () => {
  const engine = await createEngine({ workers: false, memoryPerNode: 64 * 1024, maxGuests: 4 });
  afterAll(() => engine.close());
  const guest = engine.createGuest({ bytes: BYTES - 1 });
  const neighbour = engine.createGuest({ bytes: PAGE });
  guest.fill(0, BYTES, 1);
  neighbour.fill(0, PAGE, 2);
  const vcpu = guest.vcpu();
  const calls: Record<string, (at: number) => unknown> = {
    read: (at) => vcpu.read(at, 1),
    write: (at) => vcpu.write(at, Uint8Array.of(3)),
    fill: (at) => vcpu.fill(at, 1, 3),
    pin: (at) => guest.pin(at, 1),
    load8: (at) => vcpu.load8(at),
    load32: (at) => vcpu.load32(at),
    store8: (at) => vcpu.store8(at, 3),
    store32: (at) => vcpu.store32(at, 3),
  };
  const outside = [-1, -4, -PAGE, BYTES, BYTES + 4, 2 ** 32, 2 ** 32 - PAGE, 2 ** 40, -(2 ** 32)];

  it.each(Object.keys(calls))("%s refuses what lies outside, with the numbers", (name) => {
    for (const at of [...outside, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(
        codeOf(() => calls[name](at)),
        `${name}(${at})`,
      ).toBe("PAGEFOLD_BAD_ADDRESS");
      const inSection = () => vcpu.run(() => calls[name](at));
      expect(codeOf(inSection), `${name}(${at}) in a section`).toBe("PAGEFOLD_BAD_ADDRESS");
    }
    expect(guest.read(0, BYTES).every((byte) => byte === 1)).toBe(true);
    expect(neighbour.read(0, PAGE).every((byte) => byte === 2)).toBe(true);
  });

  it("a range that begins inside and ends outside changes nothing", () => {
    const details = { guest: 0, address: BYTES - 2, length: 3, bytes: BYTES };
    expect(() => vcpu.write(BYTES - 2, new Uint8Array(3))).toThrow(
      expect.objectContaining({ code: "PAGEFOLD_BAD_ADDRESS", details }),
    );
    for (const at of [BYTES - 1, BYTES - 2, BYTES - 3]) {
      expect(codeOf(() => vcpu.load32(at))).toBe("PAGEFOLD_BAD_ADDRESS");
      expect(codeOf(() => vcpu.run(() => vcpu.store32(at, 0)))).toBe("PAGEFOLD_BAD_ADDRESS");
    }
    expect(codeOf(() => guest.pin(0, BYTES + 1))).toBe("PAGEFOLD_BAD_ADDRESS");
    expect(codeOf(() => guest.pin(0, 0))).toBe("PAGEFOLD_BAD_ADDRESS");
    expect(codeOf(() => guest.read(0, -1))).toBe("PAGEFOLD_BAD_ADDRESS");
    expect(codeOf(() => guest.fill(0, -1, 0))).toBe("PAGEFOLD_BAD_ADDRESS");
    expect(codeOf(() => guest.fill(0, 1.5, 0))).toBe("PAGEFOLD_BAD_ADDRESS");
    expect(vcpu.read(BYTES - 2, 2)).toEqual(Uint8Array.of(1, 1));
    expect(vcpu.read(BYTES, 0)).toEqual(new Uint8Array(0));
  });

  it("a fraction of a byte has no address", () => {
    for (const name of Object.keys(calls)) {
      for (const at of [0.5, 1e-9, PAGE + 0.25]) {
        expect(
          codeOf(() => calls[name](at)),
          `${name}(${at})`,
        ).toBe("PAGEFOLD_BAD_ADDRESS");
      }
    }
  });

  it("regions begin and end at pages", async () => {
    for (const [at, bytes] of [
      [1, PAGE],
      [0, 1],
      [-PAGE, PAGE],
      [0, BYTES + PAGE],
      [PAGE, BYTES],
    ]) {
      const bad = expect.objectContaining({ code: "PAGEFOLD_BAD_ADDRESS" });
      await expect(guest.mergeable(at, bytes)).rejects.toThrow(bad);
      await expect(guest.unmergeable(at, bytes)).rejects.toThrow(bad);
    }
  });
});
