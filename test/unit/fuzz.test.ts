/**
 * fuzz - random programs of writes, pins, regions, run = 2 and small batches on an engine without workers, then
 * what must hold of contents when nothing happens any more: equal pages share frames as far as the limit lets
 * them, one page a content at most waits, and no byte is lost. With real hashes and with one hash for all.
 */
import { describe, expect, it } from "vitest";
import { PTE_MERGED, PTE_NONE, ptePfn } from "../../src/base/layout.js";
import type { Memory } from "../../src/base/memory.js";
import { createEngine, type Engine, type EngineGuest, type Pin } from "../../src/index.js";
import { setKnobs } from "../../src/ksm/control.js";
import { readCounters } from "../../src/ksm/counters.js";
import { makeMergeable, makeUnmergeable } from "../../src/ksm/lifecycle.js";
import { SCAN_PASS_ENDED, scanBatch } from "../../src/ksm/scan.js";
import { createShard, type Shard } from "../../src/ksm/shard.js";
import { checkMachine } from "../../src/machine/check.js";
import { guestBase } from "../../src/mm/guest.js";
import { readPte } from "../../src/mm/pte.js";
import { PAGE, viewOf, withOneHash } from "./view.js";

const STEPS = 120;
/** Where a page's content is told apart: not where peek looks first. */
const CONTENT_AT = 8;

/** xorshift32: a number below `n`. */
function random(seed: number): (n: number) => number {
  let state = (seed * 7919 + 13) >>> 0;
  return (n) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % n;
  };
}

function expecting(code: string, action: () => void): boolean {
  try {
    action();
    return true;
  } catch (error) {
    if ((error as { code?: string }).code !== code) throw error;
    return false;
  }
}

class Program {
  private readonly contents: Int32Array[];
  private readonly pins: { guest: number; page: number; pin: Pin }[] = [];
  private readonly values: number;

  constructor(
    private readonly guests: readonly EngineGuest[],
    private readonly shard: Shard,
    private readonly below: (n: number) => number,
    oneHash: boolean,
  ) {
    this.contents = guests.map((guest) => new Int32Array(guest.bytes / PAGE));
    this.values = 1 + below(oneHash ? 40 : 8);
  }

  step(): void {
    const { shard, below } = this;
    const guest = below(this.guests.length);
    const kind = below(9);
    if (kind < 4) this.write(guest);
    else if (kind < 6) scanBatch(shard, 1 + below(40));
    else if (kind === 6) scanBatch(shard, 100_000);
    else if (kind === 7) this.control(guest);
    else this.pinOrRelease(guest);
  }

  private write(guest: number): void {
    const pages = this.contents[guest] as Int32Array;
    for (let count = this.below(12); count >= 0; count--) {
      const page = this.below(pages.length);
      const value = this.below(this.values);
      const bytes = new Uint8Array(Int32Array.of(value).buffer);
      const at = page * PAGE + CONTENT_AT;
      const target = this.guests[guest] as EngineGuest;
      if (expecting("PAGEFOLD_NO_FRAME", () => target.write(at, bytes))) pages[page] = value;
    }
  }

  private control(guest: number): void {
    const { shard, below } = this;
    const pages = (this.contents[guest] as Int32Array).length;
    const from = below(pages + 1);
    const to = from + below(pages - from + 1);
    const kind = below(10);
    if (kind < 3) makeUnmergeable(shard, guest, from, to);
    else if (kind < 6) makeMergeable(shard, guest, from, to);
    else if (kind === 6) {
      expecting("ENOMEM", () => setKnobs(shard, { run: 2 }));
      setKnobs(shard, { run: 1 });
    }
  }

  private pinOrRelease(guest: number): void {
    const pages = this.contents[guest] as Int32Array;
    if (this.pins.length < 4 && this.below(2) === 1) {
      const page = this.below(pages.length);
      const target = this.guests[guest] as EngineGuest;
      expecting("PAGEFOLD_NO_FRAME", () => {
        this.pins.push({ guest, page, pin: target.pin(page * PAGE, PAGE) });
      });
    } else if (this.pins.length > 0) {
      this.release(this.below(this.pins.length), this.below(2) === 1);
    }
  }

  private release(at: number, write: boolean): void {
    const [held] = this.pins.splice(at, 1);
    if (held === undefined) return;
    if (write) {
      const value = this.below(this.values);
      const bytes = held.pin.pages[0]?.bytes as Uint8Array;
      bytes.set(new Uint8Array(Int32Array.of(value).buffer), CONTENT_AT);
      (this.contents[held.guest] as Int32Array)[held.page] = value;
    }
    held.pin.release();
  }

  /** Ends what is going on, and scans until nothing happens any more. */
  settle(): void {
    while (this.pins.length > 0) this.release(0, false);
    for (const guest of this.guests) {
      makeMergeable(this.shard, guest.id, 0, guest.bytes / PAGE);
    }
    for (let pass = 0; pass < 8; pass++) {
      while (scanBatch(this.shard, 100_000) !== SCAN_PASS_ENDED);
    }
  }

  /** Every byte is there, and equal pages share frames as the limit lets them. */
  check(memory: Memory, limit: number): void {
    const counts = new Map<number, number>();
    const framesOf = new Map<number, Map<number, number>>();
    for (const [at, guest] of this.guests.entries()) {
      const pages = this.contents[at] as Int32Array;
      for (let page = 0; page < pages.length; page++) {
        const bytes = guest.read(page * PAGE + CONTENT_AT, 4);
        const value = new DataView(bytes.buffer).getInt32(0, true);
        expect(value).toBe(pages[page]);
        const pte = readPte(memory, guestBase(memory, guest.id) + page);
        if (pte === PTE_NONE) continue;
        counts.set(value, (counts.get(value) ?? 0) + 1);
        const frames = framesOf.get(value) ?? new Map<number, number>();
        framesOf.set(value, frames);
        if ((pte & PTE_MERGED) === 0) continue;
        frames.set(ptePfn(pte), (frames.get(ptePfn(pte)) ?? 0) + 1);
      }
    }
    for (const [value, total] of counts) {
      const frames = [...(framesOf.get(value)?.values() ?? [])];
      const single = total - frames.reduce((sum, sharers) => sum + sharers, 0);
      expect(single, `pages of content ${value} that wait`).toBeLessThanOrEqual(1);
      const room = frames.some((sharers) => sharers < limit);
      expect(single === 1 && room, `content ${value} waits beside room`).toBe(false);
    }
    const chains = [...framesOf.values()].filter((frames) => frames.size > 1);
    const dups = chains.reduce((sum, frames) => sum + frames.size, 0);
    const counters = readCounters(memory);
    expect([counters.stable_node_chains, counters.stable_node_dups]).toEqual([chains.length, dups]);
    expect(counters.pages_shared + counters.pages_sharing).toBe(counters.ksm_ptes);
    expect(counters.pages_volatile).toBe(0);
  }
}

async function run(seed: number, oneHash: boolean): Promise<void> {
  const below = random(seed);
  const limit = [2, 3, 4, 256][below(4)] as number;
  const engine: Engine = await createEngine({
    ...{ workers: false, blockBytes: 65_536, memoryPerNode: 65_536 * (3 + below(40)) },
    ...{ ksm: { run: 1, maxPageSharing: limit }, seed: 1 },
  });
  const guests = Array.from({ length: 1 + below(3) }, () =>
    engine.createGuest({ bytes: (1 + below(70)) * PAGE }),
  );
  const view = await viewOf(engine);
  const memory = oneHash ? { ...view, kernels: withOneHash(view.kernels) } : view;
  const shard = createShard(memory, 0);
  const program = new Program(guests, shard, below, oneHash);
  for (let step = 0; step < STEPS; step++) {
    program.step();
    if (step % 10 === 0) expect(checkMachine(shard).problems).toEqual([]);
  }
  program.settle();
  expect(checkMachine(shard).problems).toEqual([]);
  program.check(memory, limit);
  await engine.close();
}

describe("random programs", () => {
  it.each([false, true])("end settled, with one hash for all: %s", async (oneHash) => {
    for (let seed = 1; seed <= 250; seed++) {
      await run(seed, oneHash).catch((error: Error) => {
        error.message = `seed ${seed}: ${error.message}`;
        throw error;
      });
    }
  });
});
