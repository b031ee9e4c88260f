/**
 * Question: when a block goes, does nobody touch it once every thread has said that it let go of it (BLOCK-2), is no
 * page lost, and is it as before when it cannot go?
 * Threads: an owner that takes block 0 offline; a vCPU, an allocator, a device, or the shipped ksmd. One node with two
 * blocks of 1 or 2 frames. The host of a thread is the production's but for how it hears: by a word, not a message.
 * Bounds: 2 or 3 preemptions.
 */
import { describe, expect, it } from "vitest";
import type { Memory, MemoryHost } from "../../src/base/memory.js";
import { Device } from "./device.js";
import type { Bounds, Scenario, Step } from "./explorer.js";
import { KsmMachine } from "./ksmd.js";
import { loadProduction, type Production } from "./loader.js";
import { expectSafe, Ghosts, ghost, TinyMachine, type TinyOptions } from "./machine.js";
import { lines, mustFail, mutant } from "./mutants.js";
import { loadWord, notifyWord, storeWord, waitWord } from "./seam.js";
import { TinyKsmd } from "./tiny-ksmd.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };

/** The block that goes. */
const VICTIM = 0;
/** Rounds of evacuation before it is given up. */
const ROUNDS = 2;
const OWNER = 4;
const GONE = 0;
/** Threads that may take part, by name. */
const KSMD = 5;
const THREADS: Readonly<Record<string, number>> = { reader: 1, writer: 2, device: 3, ksmd: KSMD };

/** Who takes part in the change, and what came of it; the same for both kinds of machine. */
class Leaving {
  /** Ghost: by number, threads that have let go; GONE: whether the block is. */
  private readonly gone = new Ghosts(8);

  constructor(
    private readonly machine: TinyMachine,
    private readonly members: readonly number[],
  ) {
    const { control, layout } = machine.memory;
    for (const thread of members) control[layout.threads + thread] = 1;
  }

  get isGone(): boolean {
    return this.gone.get(GONE) === 1;
  }

  /** The host of a thread that takes part; in the thread's body. */
  host(thread: number): MemoryHost {
    const { control, layout } = this.machine.memory;
    const letGo = (word: number): void => {
      ghost(() => this.gone.set(thread, 1));
      storeWord(control, layout.threads + thread, word);
      notifyWord(control, layout.threads + thread, 1);
    };
    const host = {
      epoch: 0,
      takeChanges: () => {
        host.epoch = 1;
        letGo(2);
      },
      growMemory: () => false,
      leave: () => letGo(0),
    };
    return host;
  }

  /** Takes the block offline; true: it is gone. `forget` is what ksmd does for it. */
  offline(memory: Memory, forget: () => void = () => {}): boolean {
    const { batch, blocks, evacuate, isolate, layout, shootdown } = this.machine.production;
    const { frames } = memory.blockLayout;
    const moves = batch.createBatch(memory);
    const tally = new Int32Array(batch.OUTCOMES);
    blocks.setBlockState(memory, VICTIM, layout.BLOCK_OFFLINE);
    let isolated = 0;
    for (let round = 0; round < ROUNDS && isolated < frames; round++) {
      isolated = evacuate.evacuateRound(memory, VICTIM, moves, tally);
    }
    if (isolated < frames) {
      isolate.bringBack(memory, VICTIM);
      return false;
    }
    forget();
    blocks.setBlockState(memory, VICTIM, layout.BLOCK_LEAVING);
    blocks.announceChange(memory);
    shootdown.interruptVcpus(memory);
    this.awaitMembers(memory);
    blocks.setBlockState(memory, VICTIM, layout.BLOCK_ABSENT);
    ghost(() => this.gone.set(GONE, 1));
    return true;
  }

  private awaitMembers({ control, layout }: Memory): void {
    for (const thread of this.members) {
      while (loadWord(control, layout.threads + thread) === 1) {
        waitWord(control, layout.threads + thread, 1, 1);
      }
    }
  }

  /** Nobody who has let go of the block reads or writes a word of it. */
  observe = (step: Step): void => {
    if (step.words !== this.machine.memory.blocks[VICTIM]?.words) return;
    const thread = THREADS[step.thread];
    if (thread === undefined || this.gone.get(thread) === 0) return;
    throw new Error(`BLOCK-2: ${step.thread} touches a block that it has let go`);
  };

  /** No pte names a frame of a block that is gone; of a block that is not, no frame is isolated. */
  checkEnd(): void {
    const { isolate, layout } = this.machine.production;
    const { memory } = this.machine;
    const end = memory.blockLayout.frames;
    for (const [guest, gfn] of this.machine.pages) {
      const pte = this.machine.pte(guest, gfn);
      if (!this.isGone || pte === 0 || layout.ptePfn(pte) >= end) continue;
      throw new Error(`BLOCK-1: (${guest}, ${gfn}) is in a block that is gone`);
    }
    for (let pfn = 0; pfn < end; pfn++) {
      if (isolate.frameIsIsolated(memory, pfn) === this.isGone) continue;
      throw new Error(`ISOLATE-2: frame ${pfn}, and the block is ${this.isGone ? "gone" : "back"}`);
    }
    this.ends.add(this.isGone);
  }

  /** Whether the block was gone at the end of some execution, and whether it was not. */
  readonly ends = new Set<boolean>();
}

/** A scenario whose ends are known. */
interface Going extends Scenario {
  readonly leaving: Leaving;
}
type BuildGoing = (production: Production) => Going;

/** Every interleaving within the bounds is right, and the block is gone, or stays, at the end of some. */
function mustEnd(name: string, build: BuildGoing, bounds: Bounds, ...ends: boolean[]): void {
  it(name, async () => {
    const scenario = build(await loadProduction());
    expectSafe(scenario, bounds);
    expect([...scenario.leaving.ends].sort()).toEqual(ends);
  });
}

/** Page 0 of guest 0 is in frame 0, of the block that goes; the other block has a frame or two that are free. */
class Plain extends TinyMachine {
  readonly leaving: Leaving;

  constructor(production: Production, members: readonly string[], options: TinyOptions = {}) {
    super(production, { framesShift: 0, blocksPerNode: 2, vcpus: [0, 0], ...options });
    this.leaving = new Leaving(
      this,
      members.map((name) => THREADS[name] as number),
    );
  }

  owner = () => void this.leaving.offline(this.view(OWNER));

  /** Reads the page twice within a section, and leaves. */
  reader = () => {
    const memory = this.view(1, this.leaving.host(1));
    const cpu = this.vcpu(memory, 0, "reader");
    cpu.begin();
    cpu.load(0, 0);
    cpu.load(0, 0);
    cpu.end();
    memory.host.leave();
  };

  /** Writes a page, which takes a frame if it has none of its own; with `section` within one, and again. */
  writer = (gfn: number, again: boolean) => () => {
    const memory = this.view(2, this.leaving.host(2));
    const cpu = this.vcpu(memory, 1, "writer");
    if (again) cpu.begin();
    cpu.tryStore(gfn, 0, 99);
    if (again) cpu.tryStore(gfn, 1, 98);
    if (again) cpu.end();
    memory.host.leave();
  };

  run(threads: Scenario["threads"], extra?: ReadonlyMap<number, number>): Going {
    const scenario = this.scenario(
      { ...threads, owner: threads.owner ?? this.owner },
      () => {
        this.checkCounts(extra);
        this.leaving.checkEnd();
      },
      this.leaving.observe,
    );
    return { ...scenario, leaving: this.leaving };
  }
}

/** A frame moves away from under a vCPU that reads it. */
const reads: BuildGoing = (production) => {
  const machine = new Plain(production, ["reader"]);
  machine.populate(0, 0, [5, 6]);
  return machine.run({ reader: machine.reader });
};

/** Frames are taken, of either block, while one of them goes. */
const allocates: BuildGoing = (production) => {
  const machine = new Plain(production, ["writer"], { framesShift: 1, guests: [2] });
  machine.populate(0, 0, [5, 6]);
  return machine.run({ writer: machine.writer(1, false) });
};

/** The same, written again through the translation. */
const allocatesInSection: BuildGoing = (production) => {
  const machine = new Plain(production, ["writer"], { guests: [1] });
  return machine.run({ writer: machine.writer(0, true) });
};

/** A page of the block is copied for a write: the old frame is held meanwhile. */
const copies: BuildGoing = (production) => {
  const machine = new Plain(production, ["writer"], {
    ...{ framesShift: 1, guests: [1, 1], vcpus: [0, 0] },
  });
  machine.share(
    [
      [0, 0],
      [1, 0],
    ],
    [5, 6],
    1,
  );
  return machine.run({ writer: machine.writer(0, true) });
};

/** A frame that only limbo holds: a merged page's old one, which a vCPU may still read. */
const inLimbo: BuildGoing = (production) => {
  const machine = new Plain(production, ["reader"], {
    ...{ framesShift: 1, guests: [1, 1], vcpus: [0, 0] },
  });
  // Frame 0 is the page's own, of the block that goes; frame 2, of the other, is the merged one.
  machine.populate(0, 0, [5, 6]);
  const { blocks, layout } = production;
  blocks.setBlockState(machine.memory, VICTIM, layout.BLOCK_OFFLINE);
  const target = machine.share([[1, 0]], [5, 6], 1);
  blocks.setBlockState(machine.memory, VICTIM, layout.BLOCK_ONLINE);
  machine.quiet(0, 0);
  const owner = (): void => {
    const memory = machine.view(OWNER);
    new TinyKsmd(machine, memory).merge(0, 0, target);
    machine.leaving.offline(memory);
  };
  return machine.run({ reader: machine.reader, owner });
};

/** A device has a page of the block. */
const pinned: BuildGoing = (production) => {
  const machine = new Plain(production, ["device"]);
  machine.populate(0, 0, [5, 6]);
  const device = (): void => {
    const memory = machine.view(3, machine.leaving.host(3));
    const holder = new Device(machine, memory, 0);
    const pfn = holder.pin(0);
    holder.store(pfn, 0, 0, 77);
    holder.unpin(0, pfn);
    memory.host.leave();
  };
  return machine.run({ device });
};

/** A merged frame of the block that both pages have left; ksmd has not noticed, and is told to forget it. */
const forgotten: BuildGoing = (production) => {
  const machine = new KsmMachine(production, {
    ...{ framesShift: 1, blocksPerNode: 2, guests: [1, 1], vcpus: [0, 1] },
  });
  const { fault, hotRemove } = production;
  const leaving = new Leaving(machine, [KSMD]);
  for (const guest of [0, 1]) machine.populate(guest, 0, [5, 6]);
  for (let pass = 0; pass < 3; pass++) machine.pass();
  for (const guest of [0, 1]) {
    fault.breakCow(machine.memory, machine.slot(guest, 0), machine.pte(guest, 0));
  }
  // 0 until ksmd is asked, 1 until it has done it; 2: it was not asked, or has.
  const { control, layout } = machine.memory;
  const asked = layout.threads;
  const tell = (word: number): void => {
    storeWord(control, asked, word);
    notifyWord(control, asked, 1);
  };
  const awaitNot = (word: number): void => {
    while (loadWord(control, asked) === word) waitWord(control, asked, word, 1);
  };
  const threads = {
    ksmd: () => {
      const host = leaving.host(KSMD);
      awaitNot(0);
      if (loadWord(control, asked) === 1) {
        hotRemove.forgetBlock(machine.shard, VICTIM);
        tell(2);
        host.takeChanges();
      }
      machine.pass();
      host.leave();
    },
    owner: () => {
      leaving.offline(machine.view(OWNER), () => {
        tell(1);
        awaitNot(1);
      });
      tell(2);
    },
  };
  const scenario = machine.scenario(
    threads,
    () => {
      leaving.checkEnd();
      machine.checkCounts(new Map());
    },
    leaving.observe,
  );
  return { ...scenario, leaving };
};

/** A device keeps a page of the block; the other frame of the block was isolated. */
const staysPartly: BuildGoing = (production) => {
  const machine = new Plain(production, ["writer"], { framesShift: 1, guests: [1, 1] });
  machine.populate(0, 0, [5, 6]);
  const pfn = new Device(machine, machine.memory, 0).pin(0);
  const { leaving } = machine;
  const scenario = machine.run({ writer: machine.writer(0, false) }, new Map([[pfn, 1]]));
  return {
    ...scenario,
    check: () => {
      scenario.check();
      if (leaving.isGone) throw new Error("PIN-1: the block went with a pinned frame");
    },
  };
};

/** The block is brought back, because its frames are needed, while a round is under way or is asked for. */
const broughtBack: BuildGoing = (production) => {
  const machine = new Plain(production, [], { framesShift: 1 });
  machine.populate(0, 0, [5, 6]);
  const { batch, blocks, evacuate, isolate, layout } = production;
  blocks.setBlockState(machine.memory, VICTIM, layout.BLOCK_OFFLINE);
  const migrator = (): void => {
    const memory = machine.view(1);
    const tally = new Int32Array(batch.OUTCOMES);
    evacuate.evacuateRound(memory, VICTIM, batch.createBatch(memory), tally);
  };
  return machine.run({ migrator, owner: () => isolate.bringBack(machine.view(OWNER), VICTIM) });
};

describe("a block goes", () => {
  mustEnd("under a vCPU that reads", reads, BOUNDS, true);
  mustEnd("under a vCPU that takes a frame", allocates, NARROW, false, true);
  mustEnd(
    "under a vCPU that takes a frame and writes it again",
    allocatesInSection,
    NARROW,
    false,
    true,
  );
  mustEnd("under a vCPU that copies a page of it", copies, NARROW, false, true);
  mustEnd("with a frame in limbo", inLimbo, NARROW, true);
  mustEnd("or stays, while a device writes a page of it", pinned, BOUNDS, false, true);
  mustEnd("never, if it is brought back", broughtBack, BOUNDS, false);
  mustEnd("never, while one of its frames is pinned", staysPartly, NARROW, false);
  mustEnd("with a stable node whose frame is gone", forgotten, { preemptions: 1 }, true);
});

mustFail("blocks that go", NARROW, [
  mutant(
    "a frame isolated because its ref is 0",
    allocates,
    /BLOCK-2/,
    [
      "mm/isolate",
      lines("  plainStore(block.words, line + BLOCK_ISOLATED, count);", "  return count;"),
      lines(
        "  plainStore(block.words, line + BLOCK_ISOLATED, count);",
        "  let unused = 0;",
        "  const first = number << memory.sizes.framesPerBlockShift;",
        "  for (let i = 0; i < memory.blockLayout.frames; i++) {",
        "    if (pageRef(memory, first + i) === 0) unused++;",
        "  }",
        "  return unused;",
      ),
    ],
    [
      "mm/isolate",
      'import { frameIsFree, giveFreeWord, takeFreeWord } from "./frames.js";',
      lines(
        'import { frameIsFree, giveFreeWord, takeFreeWord } from "./frames.js";',
        'import { pageRef } from "./page-ref.js";',
      ),
    ],
  ),
  mutant("free bits taken by a load and a store", allocates, /FREE-1|REF-|BLOCK-1|MAP-1/, [
    "mm/frames",
    "  const bits = exchangeWord(block.words, freeBitmap + word, 0);",
    lines(
      "  const bits = loadWord(block.words, freeBitmap + word);",
      "  exchangeWord(block.words, freeBitmap + word, 0);",
    ),
  ]),
  mutant("a change taken part in with a pte in hand", copies, /BLOCK-2/, [
    "mm/fault",
    "  if (tryGetPage(memory, old) !== REF_HELD) return FAULT_RETRY;",
    lines(
      "  memory.host.takeChanges();",
      "  if (tryGetPage(memory, old) !== REF_HELD) return FAULT_RETRY;",
    ),
  ]),
  mutant("a change taken part in with a block in hand", allocates, /BLOCK-2/, [
    "mm/frames",
    "    const index = takeFromBlock(memory, block);",
    lines("    memory.host.takeChanges();", "    const index = takeFromBlock(memory, block);"),
  ]),
  mutant("a round under way not waited for", broughtBack, /ISOLATE-2|FREE-1/, [
    "mm/isolate",
    "  while (loadWord(words, round) === 1) sleepWhile(memory, words, round, 1);\n",
    "",
  ]),
  mutant("a round marked after its look at the state", broughtBack, /ISOLATE-2|FREE-1/, [
    "mm/isolate",
    lines(
      "  storeWord(words, memory.blockLayout.line + BLOCK_ROUND, 1);",
      "  if (blockState(memory, number) === BLOCK_OFFLINE) return true;",
      "  endRound(memory, number);",
      "  return false;",
    ),
    lines(
      "  if (blockState(memory, number) !== BLOCK_OFFLINE) return false;",
      "  storeWord(words, memory.blockLayout.line + BLOCK_ROUND, 1);",
      "  return true;",
    ),
  ]),
  mutant("nobody woken at the end of a round", broughtBack, /deadlock/, [
    "mm/isolate",
    "  notifyWord(words, round, Number.POSITIVE_INFINITY);\n",
    "",
  ]),
  mutant("frames isolated still when the block stays", staysPartly, /ISOLATE-2/, [
    "mm/isolate",
    "    plainStore(block.words, isolated + word, 0);\n",
    "",
  ]),
  mutant("stable nodes of the block kept", forgotten, /BLOCK-2/, [
    "ksm/hot-remove",
    "    if (named === number) dropStaleNode(shard, stable);",
    "    if (named === -1) dropStaleNode(shard, stable);",
  ]),
]);
