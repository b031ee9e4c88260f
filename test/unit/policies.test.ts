/** What the policies plan, and what comes of it: every plan is made and moved by hand, in one thread. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { makePte, PTE_PRESENT, ptePfn } from "../../src/base/layout.js";
import { type Memory, nodeOf } from "../../src/base/memory.js";
import { createEngine, type Engine, type Policy } from "../../src/index.js";
import {
  createBatch,
  MIGRATE_PINNED,
  MIGRATED,
  OUTCOMES,
  type Tally,
} from "../../src/migrate/batch.js";
import { migrateFrames } from "../../src/migrate/migrate.js";
import { planBalance } from "../../src/migrate/policies/balance.js";
import { planChaos } from "../../src/migrate/policies/chaos.js";
import { planFollow } from "../../src/migrate/policies/follow.js";
import { createPlanner, movePlanned, type Planner } from "../../src/migrate/policies/plan.js";
import { activePolicies, setPolicies } from "../../src/migrate/policies/policy.js";
import { guestBase, joinFamily, setGuestNode } from "../../src/mm/guest.js";
import { readMapping } from "../../src/mm/page-mapping.js";
import { addMapping, getPage, mapcount } from "../../src/mm/page-ref.js";
import { readPte } from "../../src/mm/pte.js";
import { PAGE, pageOf, viewOf } from "./view.js";

const PLANS = { follow: planFollow, balance: planBalance, chaos: planChaos };
type Planned = keyof typeof PLANS;
const FRAMES = 256;
/** Laps after which a machine of this size that goes on moving frames will not stop. */
const LAPS = 200;

/** An engine whose migrators are this test: `planners` of them. */
class Machine {
  readonly tally: Tally = new Int32Array(OUTCOMES);
  readonly planners: readonly Planner[];
  private readonly contents = new Map<number, (page: number) => number>();

  private constructor(
    readonly engine: Engine,
    readonly memory: Memory,
    planners: number,
    seed: number,
  ) {
    this.planners = Array.from({ length: planners }, (_, share) =>
      createPlanner(memory, share, planners, seed + share),
    );
  }

  static async start(nodes: number, planners = 1, seed = 1): Promise<Machine> {
    const engine = await createEngine({
      ...{ workers: false, nodes, memoryPerNode: FRAMES * PAGE, seed: 1, ksm: { run: 1 } },
    });
    return new Machine(engine, await viewOf(engine), planners, seed);
  }

  /** A guest of `pages` pages with frames of node `on`, at home on `home`. */
  guest(pages: number, on: number, home: number, contentOf = (page: number) => page): number {
    const guest = this.engine.createGuest({ bytes: pages * PAGE, node: on });
    for (let page = 0; page < pages; page++) guest.write(page * PAGE, pageOf(contentOf(page)));
    this.contents.set(guest.id, contentOf);
    setGuestNode(this.memory, guest.id, home);
    return guest.id;
  }

  pfn(guest: number, page: number): number {
    return ptePfn(readPte(this.memory, guestBase(this.memory, guest) + page));
  }

  nodeOf(guest: number, page: number): number {
    return nodeOf(this.memory, this.pfn(guest, page));
  }

  get free(): number[] {
    return this.engine.stats().nodes.map(({ free }) => free);
  }

  get spread(): number {
    return (Math.max(...this.free) - Math.min(...this.free)) / FRAMES;
  }

  get moved(): number {
    return this.tally[MIGRATED] as number;
  }

  async remote(): Promise<number[]> {
    return (await this.engine.report()).guests.map(({ remote_pages }) => remote_pages);
  }

  /**
   * A lap of each policy by each migrator: all plan before any moves, as if they were at it at one time. Returns how
   * many frames were planned.
   */
  lap(policies: readonly Planned[]): number {
    setPolicies(this.memory, policies);
    const ended = new Map(this.planners.map((planner) => [planner, new Set<Planned>()]));
    let planned = 0;
    while ([...ended.values()].some(({ size }) => size < policies.length)) {
      for (const policy of policies) {
        const busy = this.planners.filter((planner) => !ended.get(planner)?.has(policy));
        for (const planner of busy) {
          if (PLANS[policy](this.memory, planner)) ended.get(planner)?.add(policy);
          planned += planner.count;
        }
        for (const planner of busy) {
          movePlanned(this.memory, planner, createBatch(this.memory), this.tally);
        }
      }
    }
    return planned;
  }

  /** Laps until one of all plans nothing; how many there were. */
  settle(...policies: Planned[]): number {
    let laps = 0;
    // balance ends a lap of frames that are not at home, and one of any, before it is at an end.
    while (this.lap(policies) > 0 || this.lap(policies) > 0) {
      expect(++laps, "laps").toBeLessThan(LAPS);
    }
    return laps;
  }

  /** Nobody has lost a byte or a count. */
  async end(): Promise<void> {
    expect((await this.engine.check()).problems).toEqual([]);
    for (const guest of this.engine.guests) {
      const contentOf = this.contents.get(guest.id);
      for (let page = 0; contentOf !== undefined && page < guest.bytes / PAGE; page++) {
        const found = guest.read(page * PAGE, PAGE);
        expect(Buffer.compare(found, pageOf(contentOf(page))), `page ${page}`).toBe(0);
      }
    }
    await this.engine.close();
  }
}

describe("follow", () => {
  it("brings every private frame to the home of its guest, and then plans nothing", async () => {
    const machine = await Machine.start(2);
    machine.guest(100, 0, 1);
    machine.guest(60, 1, 0);
    machine.guest(20, 0, 0);
    expect(await machine.remote()).toEqual([100, 60, 0]);
    expect(machine.settle("follow")).toBe(1);
    expect(await machine.remote()).toEqual([0, 0, 0]);
    expect(machine.moved).toBe(160);
    expect(machine.free).toEqual([FRAMES - 80, FRAMES - 100]);
    await machine.end();
  });

  it("brings a shared frame to where most of its pages are at home; a tie leaves it", async () => {
    const machine = await Machine.start(3);
    // Pages 0 to 9: homes 0, 1, 1. Pages 10 to 19: homes 0, 1. Pages 20 to 29: homes 1, 2, and the frame on 0.
    const first = machine.guest(20, 0, 0);
    machine.guest(20, 0, 1);
    machine.guest(10, 0, 1);
    const tied = machine.guest(10, 0, 1, (page) => page + 20);
    machine.guest(10, 0, 2, (page) => page + 20);
    // Homes 0 and 1, and the frame on 1.
    const other = machine.guest(10, 1, 0, (page) => page + 40);
    machine.guest(10, 1, 1, (page) => page + 40);
    machine.engine.ksm.scanSync(2);
    expect(machine.engine.stats().counters).toMatchObject({ pages_shared: 40, pages_sharing: 50 });
    machine.settle("follow");
    for (let page = 0; page < 10; page++) expect(machine.nodeOf(other, page)).toBe(1);
    const nodes = Array.from({ length: 20 }, (_, page) => machine.nodeOf(first, page));
    expect(nodes).toEqual([...Array(10).fill(1), ...Array(10).fill(0)]);
    for (let page = 0; page < 10; page++) expect(machine.nodeOf(tied, page)).toBe(1);
    expect(machine.moved).toBe(20);
    await machine.end();
  });

  it("counts a guest with several pages in a frame as often", async () => {
    const machine = await Machine.start(2);
    machine.guest(3, 0, 1, () => 7);
    machine.guest(1, 0, 0, () => 7);
    machine.guest(1, 0, 0, () => 7);
    machine.engine.ksm.scanSync(2);
    machine.settle("follow");
    expect(machine.nodeOf(0, 0)).toBe(1);
    await machine.end();
  });

  it("asks all of a family whose guests may map a frame of one of them", async () => {
    const machine = await Machine.start(2);
    const { memory } = machine;
    const family = [machine.guest(1, 0, 0)];
    const pfn = machine.pfn(0, 0);
    for (const child of [1, 2]) {
      family.push(machine.engine.createGuest({ bytes: PAGE, node: 1 }).id);
      joinFamily(memory, child, 0);
      getPage(memory, pfn);
      addMapping(memory, pfn);
    }
    for (const guest of family) {
      memory.control[memory.layout.ptes + guestBase(memory, guest)] = makePte(pfn, PTE_PRESENT);
    }
    expect(machine.lap(["follow"])).toBe(1);
    expect(new Set(family.map((guest) => machine.pfn(guest, 0))).size).toBe(1);
    expect(machine.nodeOf(0, 0)).toBe(1);
    await machine.end();
  });

  it("leaves alone what has no room at home, until there is some", async () => {
    const machine = await Machine.start(2);
    machine.guest(FRAMES - 10, 1, 1);
    machine.guest(30, 0, 1);
    machine.settle("follow");
    expect(await machine.remote()).toEqual([0, 20]);
    expect(machine.tally).toEqual(Int32Array.of(10, 0, 0, 0, 0, 0));
    await machine.end();
  });

  it("tries a pinned frame again in the next lap", async () => {
    const machine = await Machine.start(2);
    const guest = machine.guest(8, 0, 1);
    const pin = machine.engine.guests[guest]?.pin(0, PAGE);
    for (const _ of [1, 2]) machine.lap(["follow"]);
    expect(machine.tally[MIGRATE_PINNED]).toBe(2);
    pin?.release();
    machine.settle("follow");
    expect(await machine.remote()).toEqual([0]);
    await machine.end();
  });
});

describe("balance", () => {
  it("moves as many frames as it takes to come within 10 %, and not one more", async () => {
    const machine = await Machine.start(2);
    machine.guest(FRAMES, 0, 0);
    expect(machine.free).toEqual([0, FRAMES]);
    machine.settle("balance");
    // (256 - 2 x 116) / 256 = 9.4 %; with one frame less 10.2 %.
    expect(machine.free).toEqual([116, 140]);
    expect(machine.moved).toBe(116);
    for (let lap = 0; lap < 20; lap++) expect(machine.lap(["balance"])).toBe(0);
    await machine.end();
  });

  it("prefers frames that are not at home", async () => {
    const machine = await Machine.start(2);
    machine.guest(128, 0, 0);
    machine.guest(128, 0, 1);
    machine.settle("balance");
    expect(await machine.remote()).toEqual([0, 128 - 116]);
    await machine.end();
  });

  it("balances four nodes, whatever they begin with", async () => {
    const machine = await Machine.start(4);
    for (const [node, pages] of [250, 200, 20, 0].entries()) machine.guest(pages + 1, node, node);
    machine.settle("balance");
    expect(machine.spread).toBeLessThanOrEqual(0.1);
    expect(machine.free.reduce((sum, free) => sum + free)).toBe(4 * FRAMES - 474);
    await machine.end();
  });

  it("gives up for the lap when nothing can be moved", async () => {
    const machine = await Machine.start(2);
    const guest = machine.guest(FRAMES, 0, 0);
    const pin = machine.engine.guests[guest]?.pin(0, FRAMES * PAGE);
    for (const _ of [1, 2]) machine.lap(["balance"]);
    expect(machine.moved).toBe(0);
    expect(machine.tally[MIGRATE_PINNED]).toBeGreaterThan(0);
    pin?.release();
    machine.settle("balance");
    expect(machine.spread).toBeLessThanOrEqual(0.1);
    await machine.end();
  });

  it("comes to rest with follow beside it, for any guests and any number of migrators", async () => {
    const guests = fc.array(
      fc.record({ pages: fc.integer({ min: 1, max: 120 }), on: fc.nat(2), home: fc.nat(2) }),
      { minLength: 1, maxLength: 5 },
    );
    const check = async (
      plan: { pages: number; on: number; home: number }[],
      migrators: number,
    ) => {
      const machine = await Machine.start(3, migrators);
      for (const { pages, on, home } of plan) machine.guest(pages, on, home);
      machine.settle("follow", "balance");
      expect(machine.spread).toBeLessThanOrEqual(0.1);
      await machine.end();
    };
    const property = fc.asyncProperty(guests, fc.integer({ min: 1, max: 4 }), check);
    await fc.assert(property, { numRuns: 40, seed: 7 });
  });

  it("keeps follow from taking back what it has moved away", async () => {
    const machine = await Machine.start(2);
    machine.guest(FRAMES, 0, 0);
    machine.settle("follow", "balance");
    expect(machine.moved).toBe(116);
    expect(machine.free).toEqual([116, 140]);
    await machine.end();
  });
});

interface Drawn {
  /** Frames planned, and those of them that were merged and had several sharers. */
  planned: number;
  plannedShared: number;
  /** The same of those that were moved. */
  moved: number;
  movedShared: number;
  /** Moves that ended on the node where they began. */
  stayed: number;
  /** How often each node was the target. */
  readonly targets: number[];
  readonly plan: string[];
}

/** Plans and moves frame by frame until `moves` have been moved. */
function draw(machine: Machine, moves: number): Drawn {
  const { memory } = machine;
  const nodes = machine.engine.stats().nodes.length;
  const drawn: Drawn = {
    ...{ planned: 0, plannedShared: 0, moved: 0, movedShared: 0, stayed: 0 },
    ...{ targets: Array(nodes).fill(0), plan: [] },
  };
  for (let plan = 0; drawn.moved < moves; plan++) {
    const planner = machine.planners[plan % machine.planners.length] as Planner;
    planChaos(memory, planner);
    for (let i = 0; i < planner.count; i++) {
      const [pfn, to] = [planner.pfns[i] as number, planner.targets[i] as number];
      const shared = (readMapping(memory, pfn) & 3) === 2 && mapcount(memory, pfn) > 1 ? 1 : 0;
      const tally: Tally = new Int32Array(OUTCOMES);
      migrateFrames(memory, [pfn], to, createBatch(memory), tally);
      drawn.planned++;
      drawn.plannedShared += shared;
      drawn.moved += tally[MIGRATED] as number;
      drawn.movedShared += shared * (tally[MIGRATED] as number);
      drawn.stayed += nodeOf(memory, pfn) === to ? (tally[MIGRATED] as number) : 0;
      drawn.targets[to]++;
      drawn.plan.push(`${pfn} to ${to}`);
    }
  }
  return drawn;
}

describe("chaos", () => {
  /** 32 shared frames and 96 private ones on two or more nodes. */
  const start = async (planners: number, seed: number, sharedPages = 32): Promise<Machine> => {
    const machine = await Machine.start(3, planners, seed);
    machine.guest(96, 0, 0);
    machine.guest(sharedPages, 1, 1, (page) => page);
    machine.engine.ksm.scanSync(2);
    expect(machine.engine.stats().counters.pages_shared).toBe(sharedPages);
    return machine;
  };

  it.each([1, 2, 5])("moves shared frames in a third of its moves, by %i migrators", async (m) => {
    const machine = await start(m, 11);
    const drawn = draw(machine, 2000);
    expect(drawn.plannedShared * 3).toBeGreaterThanOrEqual(drawn.planned);
    expect(drawn.movedShared * 3).toBeGreaterThanOrEqual(drawn.moved);
    expect(drawn.moved - drawn.movedShared).toBeGreaterThan(500);
    expect(drawn.stayed).toBeGreaterThan(200);
    for (const count of drawn.targets) expect(count).toBeGreaterThan(drawn.planned / 6);
    await machine.end();
  });

  it("does so when there is one such frame alone", async () => {
    const machine = await start(1, 12, 1);
    const drawn = draw(machine, 2000);
    expect(drawn.movedShared * 3).toBeGreaterThanOrEqual(drawn.moved);
    await machine.end();
  });

  it("moves others when there is none, and finds none where one was", async () => {
    const machine = await start(1, 13);
    expect(draw(machine, 200).movedShared).toBeGreaterThan(60);
    await machine.engine.ksm.set({ run: 2 });
    const drawn = draw(machine, 2000);
    expect([drawn.plannedShared, drawn.movedShared]).toEqual([0, 0]);
    await machine.end();
  });

  it("follows from its seed, and differs with another", async () => {
    const plans = [];
    for (const seed of [21, 21, 22]) {
      const machine = await start(2, seed);
      plans.push(draw(machine, 500).plan);
      await machine.end();
    }
    expect(plans[1]).toEqual(plans[0]);
    expect(plans[2]).not.toEqual(plans[0]);
  });

  it("leaves each migrator its own private frames", async () => {
    const machine = await start(3, 31, 1);
    for (const planner of machine.planners) {
      planChaos(machine.memory, planner);
      const own = [...planner.pfns.subarray(1, planner.count)];
      expect(own.filter((pfn) => pfn % 3 !== planner.share)).toEqual([]);
    }
    await machine.end();
  });

  it("plans nothing where nothing is used", async () => {
    const machine = await Machine.start(2);
    expect(machine.lap(["chaos"])).toBe(0);
    await machine.end();
  });
});

describe("the word", () => {
  it("holds any set of policies, and gives it back in one order", async () => {
    const { memory, engine } = await Machine.start(1);
    const sets: Policy[][] = [[], ["chaos"], ["compact", "follow"], ["chaos", "balance", "follow"]];
    const read = sets.map((policies) => {
      setPolicies(memory, policies);
      return activePolicies(memory);
    });
    expect(read).toEqual([[], ["chaos"], ["follow", "compact"], ["follow", "balance", "chaos"]]);
    expect(engine.policies).toEqual(["follow", "balance", "chaos"]);
    await engine.close();
  });
});

describe("policies of an engine without migrators", () => {
  it("are refused, at creation and later, and none is set", async () => {
    const refused = { code: "PAGEFOLD_BAD_OPTION", details: { option: "policies" } };
    const small = { memoryPerNode: FRAMES * PAGE };
    for (const options of [{}, { workers: false, migrators: 2 }]) {
      const policies: Policy[] = ["chaos"];
      const call = createEngine({ ...small, ...options, policies });
      await expect(call).rejects.toMatchObject(refused);
      await expect(call).rejects.toThrow("create the engine with migrators: 1 or more");
    }
    const engine = await createEngine({ ...small, workers: false, policies: [] });
    await expect(engine.setPolicies(["follow"])).rejects.toMatchObject(refused);
    await engine.setPolicies([]);
    expect(engine.policies).toEqual([]);
    await engine.close();
    await expect(engine.setPolicies([])).rejects.toMatchObject({ code: "PAGEFOLD_CLOSED" });
  });

  it("are refused by name", async () => {
    const engine = await createEngine({ ...{ workers: false, memoryPerNode: FRAMES * PAGE } });
    const messages = {
      "there is no policy pack; the policies are follow, balance, compact, chaos": ["pack"],
      "the policy chaos is named twice": ["chaos", "follow", "chaos"],
      "policies must be an array of follow, balance, compact, chaos, not chaos": "chaos",
    };
    for (const [message, policies] of Object.entries(messages)) {
      const call = engine.setPolicies(policies as Policy[]);
      await expect(call).rejects.toMatchObject({ code: "PAGEFOLD_BAD_OPTION", message });
    }
    await engine.close();
  });
});

describe("stats().migrations", () => {
  it("adds up what every migration came to, by reason", async () => {
    const { engine } = await Machine.start(2);
    const guest = engine.createGuest({ bytes: 8 * PAGE, node: 0 });
    guest.fill(0, guest.bytes, 1);
    const none = { pinned: 0, busy: 0, no_frame: 0, raced: 0, timeout: 0 };
    expect(engine.stats().migrations).toEqual({ succeeded: 0, failed: none });
    const pin = guest.pin(0, 2 * PAGE);
    await guest.moveToNode(1);
    pin.release();
    await engine.migrate({ pfns: [-1, 400, 401], to: 1 });
    await engine.migrate({ guest, to: 1 });
    expect(engine.stats().migrations).toEqual({
      succeeded: 8,
      failed: { ...none, pinned: 2, raced: 3 },
    });
    await engine.close();
  });
});
