/**
 * What tells a stress that a page is wrong: contents, vCPUs, latencies and the plan, each by itself.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Actor, type ActorSpec } from "../../dist/cli/stress/actor.js";
import { Contents, VERSIONS } from "../../dist/cli/stress/contents.js";
import { idleActors, showsAll } from "../../dist/cli/stress/idle.js";
import { Latencies } from "../../dist/cli/stress/latency.js";
import { Ledger } from "../../dist/cli/stress/ledger.js";
import { makePlan, planDigest } from "../../dist/cli/stress/plan.js";
import { createEngine, type EngineGuest, type Vcpu } from "../../dist/index.js";
import { PAGE } from "./command.js";

const WORDS = PAGE / 4;
const PAGES = 64;
const SEED = 5;
const contents = new Contents(SEED, 4);

describe("contents", () => {
  const gfn = fc.nat(2 ** 20);
  const version = fc.integer({ min: 1, max: VERSIONS - 1 });

  it("of a page tell its version from any word", () => {
    fc.assert(
      fc.property(gfn, version, fc.nat(WORDS - 1), (page, number, i) => {
        const base = contents.baseOf(1, page);
        const code = contents.codeOfVersion(number);
        expect(contents.versionOf(code)).toBe(number);
        expect(contents.codeOf(contents.word(code, base, i), base, i)).toBe(code);
      }),
    );
  });

  it("are filled in as they are checked, and the first word that differs is found", () => {
    const codes = fc.oneof(
      fc.nat(4),
      version.map((number) => contents.codeOfVersion(number)),
    );
    fc.assert(
      fc.property(codes, gfn, fc.nat(WORDS - 1), (code, page, i) => {
        const base = contents.baseOf(2, page);
        const words = new Int32Array(WORDS);
        contents.fill(words, code, base);
        expect(contents.firstWrong(words, code, base, 0, WORDS)).toBe(-1);
        words[i] ^= 1 << (page % 32);
        expect(contents.firstWrong(words, code, base, 0, WORDS)).toBe(i);
        expect(contents.firstWrong(words, code, base, i + 1, WORDS)).toBe(-1);
      }),
    );
  });

  it("of other pages, guests and seeds are none of this one's", () => {
    const base = contents.baseOf(1, 7);
    const strangers = [
      { of: contents, at: contents.baseOf(1, 8) },
      { of: contents, at: contents.baseOf(2, 7) },
      { of: new Contents(SEED + 1, 4), at: new Contents(SEED + 1, 4).baseOf(1, 7) },
    ];
    for (const { of, at } of strangers) {
      const found = Array.from({ length: WORDS }, (_, i) =>
        contents.codeOf(of.word(of.codeOfVersion(3), at, i), base, i),
      );
      expect(new Set(found)).toEqual(new Set([-1]));
    }
    expect(contents.describe(0)).toBe("zeros");
    expect(contents.describe(4)).toBe("pattern 4");
    expect(contents.describe(contents.codeOfVersion(4))).toBe("version 4");
  });
});

/**
 * A vCPU that loses the stores to pages that it stored to before, and to others since, in the same section: as it would
 * be if the frames had been taken away meanwhile.
 */
function withoutLateStores(vcpu: Vcpu): Vcpu {
  const run = vcpu.run.bind(vcpu);
  vcpu.run = (section) =>
    run((inside) => {
      const stored = new Set<number>();
      let last = -1;
      const store32 = (address: number, value: number): void => {
        const page = Math.floor(address / PAGE);
        if (page === last || !stored.has(page)) inside.store32(address, value);
        stored.add(page);
        last = page;
      };
      return section({ load32: inside.load32, store32 } as typeof inside);
    });
  return vcpu;
}

type ActorOf = (vcpu: number, vcpus: number) => Actor;

/** A guest of zeros, and vCPUs of a stress in it. */
async function withGuest(use: (guest: EngineGuest, actorOf: ActorOf) => void): Promise<void> {
  await using engine = await createEngine({ workers: false, memoryPerNode: 2 ** 20 });
  const guest = engine.createGuest({ bytes: PAGES * PAGE });
  const ledger = new Ledger(Ledger.create(PAGES));
  use(guest, (vcpu, vcpus) => actorIn(guest, ledger, vcpu, vcpus));
}

function actorIn(
  guest: EngineGuest,
  ledger: Ledger,
  vcpu: number,
  vcpus: number,
  runsOn = guest.vcpu(),
): Actor {
  const spec: ActorSpec = { guest: guest.id, vcpu, vcpus, pages: PAGES, seed: SEED + vcpu };
  return new Actor(runsOn, spec, contents, ledger);
}

/** Adds one to a byte; returns the word that it is in, before and after. */
function spoil(guest: EngineGuest, address: number): { before: number; after: number } {
  const at = address - (address % 4);
  const word = (): number => new DataView(guest.read(at, 4).buffer).getInt32(0, true);
  const before = word();
  guest.write(address, Uint8Array.of((guest.read(address, 1)[0] ?? 0) + 1));
  return { before, after: word() };
}

describe("a vCPU of a stress", () => {
  it("finds nothing where nothing is lost", async () => {
    await withGuest((_, actorOf) => {
      const actors = [0, 1, 2].map((vcpu) => actorOf(vcpu, 3));
      for (let turn = 0; turn < 100; turn++) {
        for (const actor of actors) expect(actor.work(50)).toBe(null);
      }
      for (const actor of actors) {
        expect(actor.sweep()).toBe(null);
        const { writes, reads, pins } = actor.operations;
        expect(Math.min(writes, reads, pins)).toBeGreaterThan(0);
        expect(actor.latencies.summary()?.max).toBeGreaterThan(0);
        expect(actor.recent).toHaveLength(64);
      }
    });
  });

  it("stores late in a section now and then, and finds a store that is lost there", async () => {
    await withGuest((guest) => {
      const ledger = () => new Ledger(Ledger.create(PAGES));
      const sound = actorIn(guest, ledger(), 0, 1);
      let lingered = 0;
      for (let slice = 0; slice < 400; slice++) {
        expect(sound.work(64)).toBe(null);
        lingered += sound.recent.filter(({ operation }) => operation === "linger").length;
      }
      expect(lingered).toBeGreaterThan(0);
      guest.fill(0, guest.bytes, 0);
      const losing = actorIn(guest, ledger(), 0, 1, withoutLateStores(guest.vcpu()));
      const wrong = losing.work(400 * 64);
      expect(wrong).toMatchObject({ operation: "linger", offset: 0 });
      expect(losing.recent.at(-1)?.operation).toBe("linger");
    });
  });

  it.each([0, 1234, PAGE - 1])(
    "finds byte %i of a page of its own, and what was there",
    async (byte) => {
      await withGuest((guest, actorOf) => {
        const actor = actorOf(0, 1);
        expect(actor.work(5000)).toBe(null);
        expect(actor.sweep()).toBe(null);
        const gfn = 37;
        const { before, after } = spoil(guest, gfn * PAGE + byte);
        const offset = byte - (byte % 4);
        const code = contents.codeOf(before, contents.baseOf(guest.id, gfn), offset / 4);
        expect(actor.sweep()).toEqual({
          ...{ guest: guest.id, gfn, vcpu: 0, operation: "sweep", after: 5000, offset },
          ...{ expected: before, found: after },
          ...{ content: contents.describe(code), version: contents.versionOf(code) },
        });
      });
    },
  );

  it("finds it while it works", async () => {
    await withGuest((guest, actorOf) => {
      const actor = actorOf(0, 1);
      expect(actor.work(5000)).toBe(null);
      for (let gfn = 0; gfn < PAGES; gfn++) spoil(guest, gfn * PAGE + 77);
      const wrong = actor.work(5000);
      expect(wrong).toMatchObject({ offset: 76, guest: guest.id });
      expect(actor.recent.at(-1)?.gfn).toBe(wrong?.gfn);
    });
  });

  it("finds a byte of another vCPU's page", async () => {
    await withGuest((guest, actorOf) => {
      const [own, other] = [actorOf(0, 2), actorOf(1, 2)];
      expect(other.work(2000)).toBe(null);
      for (let gfn = 1; gfn < PAGES; gfn += 2) spoil(guest, gfn * PAGE + 77);
      const wrong = own.work(2000);
      expect(wrong).toMatchObject({ offset: 76, vcpu: 0 });
      expect((wrong?.gfn ?? 0) % 2).toBe(1);
      expect(["read_other", "watch"]).toContain(wrong?.operation);
    });
  });

  it("finds what another vCPU's page held before, though it was right then", async () => {
    await withGuest((guest, actorOf) => {
      const [own, other] = [actorOf(0, 2), actorOf(1, 2)];
      expect(other.work(2000)).toBe(null);
      const before = guest.read(0, guest.bytes);
      expect(own.work(2000)).toBe(null);
      expect(other.work(2000)).toBe(null);
      expect(own.work(2000)).toBe(null);
      for (let at = PAGE; at < guest.bytes; at += 2 * PAGE) {
        guest.write(at, before.subarray(at, at + PAGE));
      }
      expect(own.work(2000)).toMatchObject({ vcpu: 0, expected: expect.any(Number) });
    });
  });

  it("knows of a page that is being written that each word is this page's, or everybody's", async () => {
    await withGuest((guest) => {
      const ledger = new Ledger(Ledger.create(PAGES));
      const own = actorIn(guest, ledger, 0, 2);
      const page = new Int32Array(WORDS);
      for (let gfn = 1; gfn < PAGES; gfn += 2) {
        const base = contents.baseOf(guest.id, gfn);
        contents.fill(page, contents.codeOfVersion(9), base, 0, 400);
        contents.fill(page, 3, base, 400);
        guest.write(gfn * PAGE, new Uint8Array(page.buffer));
        ledger.begin(gfn);
      }
      expect(own.work(2000)).toBe(null);
      for (let gfn = 1; gfn < PAGES; gfn += 2) spoil(guest, gfn * PAGE + 79);
      const wrong = own.work(2000);
      expect(wrong).toMatchObject({ operation: "read_other", offset: 76, expected: null });
      expect(wrong).toMatchObject({ content: "zeros, a pattern, or a version", version: 0 });
    });
  });
});

describe("a ledger", () => {
  const holding = { head: 7, tail: 3, cut: 12 };

  it("says what a page holds, to all who have its words", () => {
    const words = Ledger.create(2);
    const [mine, yours] = [new Ledger(words), new Ledger(words)];
    expect(yours.again(1, yours.look(1))).toEqual({ head: 0, tail: 0, cut: WORDS });
    mine.begin(1);
    mine.end(1, holding);
    expect(mine.own(1)).toEqual(holding);
    expect(yours.again(1, yours.look(1))).toEqual(holding);
    expect(yours.again(0, yours.look(0))).toEqual({ head: 0, tail: 0, cut: WORDS });
  });

  it("says nothing of a page that is, was or came to be written meanwhile", () => {
    const ledger = new Ledger(Ledger.create(1));
    const before = ledger.look(0);
    ledger.begin(0);
    expect(ledger.again(0, before)).toBe(null);
    const during = ledger.look(0);
    expect(ledger.again(0, during)).toBe(null);
    ledger.end(0, holding);
    expect(ledger.again(0, before)).toBe(null);
    expect(ledger.again(0, during)).toBe(null);
    expect(ledger.again(0, ledger.look(0))).toEqual(holding);
  });
});

describe("latencies", () => {
  it("are told at most a tenth too high, and the largest exactly", () => {
    const latencies = new Latencies();
    expect(latencies.summary()).toBe(null);
    for (let i = 1; i <= 1000; i++) latencies.add(i / 100);
    const sum = new Latencies();
    sum.addAll(latencies.sums);
    const { p50 = 0, p99 = 0, p999 = 0, max } = sum.summary() ?? {};
    expect(max).toBe(10);
    for (const [told, exact] of [
      [p50, 5],
      [p99, 9.9],
      [p999, 9.99],
    ] as const) {
      expect(told).toBeGreaterThanOrEqual(exact);
      expect(told).toBeLessThanOrEqual(exact * Math.exp(0.1));
    }
  });

  it("of any length have a place", () => {
    const latencies = new Latencies();
    for (const ms of [0, 1e-9, 1e9]) latencies.add(ms);
    expect(latencies.summary()).toMatchObject({ p50: 0.0001, max: 1e9 });
  });
});

describe("a plan", () => {
  const options = {
    ...{ seconds: 2, seed: 7, nodes: 2, guests: 4, vcpus: 2, ksmd: 1, migrators: 2 },
    ...{ memoryPerNode: 2 ** 24, json: true, dump: null, quiet: false },
  };
  const digest = (of: Partial<typeof options>): string =>
    planDigest(makePlan({ ...options, ...of }));

  it("is the same for the same options, and another for others", () => {
    expect(digest({})).toBe("d74a1837e906c67309cbcb254498e0ac415861a52f1920a637c6f6b0ff7c9021");
    const changes: readonly Partial<typeof options>[] = [
      ...[{ seconds: 3 }, { seed: 8 }, { nodes: 3 }, { guests: 5 }, { vcpus: 3 }],
      ...[{ migrators: 3 }, { memoryPerNode: 2 ** 25 }],
    ];
    const digests = [{}, ...changes].map(digest);
    expect(new Set(digests).size).toBe(digests.length);
    // Where the result goes is no part of it.
    expect(digest({ json: false, quiet: true })).toBe(digest({}));
  });

  it("does everything in each round, to guests and pages that there are", () => {
    const { rounds, guests, pages_per_guest: pages } = makePlan(options);
    expect(rounds.some(({ steps }) => steps.some(({ kind }) => kind === "compact"))).toBe(true);
    for (const { steps, policies } of rounds) {
      const kinds = steps.map(({ kind }) => kind).filter((kind) => kind !== "compact");
      expect(kinds.sort()).toEqual(["across", "block", "limit", "pace", "region", "unmerge"]);
      expect(policies[0]).toBe("chaos");
      for (const step of steps) {
        if (step.kind !== "region") continue;
        expect(step.guest).toBeLessThan(guests);
        expect(step.from).toBeLessThan(step.to);
        expect(step.to).toBeLessThanOrEqual(pages);
      }
    }
  });
});

describe("a stress long enough to show everything", () => {
  const planOf = (seconds: number) => ({ seconds }) as Parameters<typeof showsAll>[0];

  it("has come to its time, or has none, and as many rounds as the shortest one with a time", () => {
    expect(showsAll(planOf(2), false, 0)).toBe(true);
    expect(showsAll(planOf(2), true, 9)).toBe(false);
    expect(showsAll(planOf(0), true, 3)).toBe(false);
    expect(showsAll(planOf(0), true, 4)).toBe(true);
  });
});

describe("who did nothing", () => {
  const counters = { pages_merged: 1, cow_ksm: 1 } as Parameters<typeof idleActors>[0]["counters"];
  const failed = { pinned: 0, busy: 0, no_frame: 0, raced: 0, timeout: 0 };
  const all: Parameters<typeof idleActors>[0] = {
    performance: { writes: 1, reads: 1, pins: 1, idle: 0, latency: null },
    counters,
    migrations: { succeeded: 1, failed },
    sharedMoves: 1,
    steps: {
      ...{ knob_switches: 1, blocks_refused: 0 },
      unmerges: { everything: 1, regions: 1, refused: 0 },
    },
    blocks: { online: 1, removed: 1, added: 1 },
  };

  it("is nobody where everybody did something", () => {
    expect(idleActors(all)).toEqual([]);
  });

  it("is named", () => {
    expect(idleActors({ ...all, sharedMoves: 0, counters: { ...counters, cow_ksm: 0 } })).toEqual([
      "no merged page was copied",
      "no frame of several merged pages was moved",
    ]);
    expect(
      idleActors({
        performance: { writes: 0, reads: 0, pins: 0, idle: 3, latency: null },
        counters: { ...counters, pages_merged: 0, cow_ksm: 0 },
        migrations: { succeeded: 0, failed },
        sharedMoves: 0,
        steps: {
          ...{ knob_switches: 0, blocks_refused: 9 },
          unmerges: { everything: 0, regions: 0, refused: 9 },
        },
        blocks: { online: 1, removed: 0, added: 0 },
      }),
    ).toEqual([
      "3 vCPUs wrote or read nothing",
      "no page was pinned",
      "no page was merged",
      "no merged page was copied",
      "no frame was moved",
      "no frame of several merged pages was moved",
      "no knob was switched",
      "nothing was unmerged by run 2",
      "no region was unmerged",
      "no block was removed",
      "no block was added",
    ]);
  });
});
