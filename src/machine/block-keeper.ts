/**
 * block-keeper - blocks off and on, as the owner of an engine asks for it: emptied by the migrators, forgotten by ksmd,
 * let go by every thread.
 *
 *   offline   state OFFLINE; rounds of evacuation until every frame is isolated; ksmd drops its stable nodes there;
 *             every thread detaches. What cannot be emptied comes back as it was.
 *   compact   the emptiest blocks of each node whose frames fit into the others, all together.
 */
import { PagefoldError } from "../base/errors.js";
import {
  BLOCK_JOINING,
  BLOCK_LEAVING,
  BLOCK_OFFLINE,
  BLOCK_ONLINE,
  MAPPING_TAG_ANON,
  mappingId,
  mappingTag,
} from "../base/layout.js";
import type { Memory } from "../base/memory.js";
import { type Nid, NONE, PAGE_SIZE, type Pfn } from "../base/units.js";
import { blockState, nodeOfBlock, setBlockState } from "../mm/blocks.js";
import { freeFramesOf, rewindBlock, touchedFrames } from "../mm/frames.js";
import { bringBack, heldFrames } from "../mm/isolate.js";
import { frameIndex, readMapping } from "../mm/page-mapping.js";
import type { BlockOwner } from "./block-owner.js";
import type { CallOptions } from "./channel.js";
import type { Crew } from "./crew.js";
import type { MigrationFailures, MigrationResult } from "./migration.js";

/** A block of an engine, as `engine.blocks()` tells of it. */
export interface BlockStats {
  /** Its number; frame `pfn` is in block `floor(pfn / frames)`. */
  readonly block: number;
  /** Node whose memory it is. */
  readonly node: Nid;
  /** "online"; "offline": being emptied; "joining", "leaving": threads attach or detach. */
  readonly state: "online" | "offline" | "joining" | "leaving";
  /** Frames of 4 KiB. */
  readonly frames: number;
  /** Those that the next write may take. */
  readonly free: number;
}

/** What taking blocks off came to. */
export interface Released {
  /** Blocks that are gone. */
  readonly blocks: number;
  /** Bytes of their frames that had been in use, and are no longer the process's when every thread has collected. */
  readonly bytes: number;
}

/** Milliseconds without progress after which a block counts as one that cannot be emptied. */
const STALL_MS = 1000;

const STATES: Readonly<Record<number, BlockStats["state"]>> = {
  [BLOCK_JOINING]: "joining",
  [BLOCK_ONLINE]: "online",
  [BLOCK_OFFLINE]: "offline",
  [BLOCK_LEAVING]: "leaving",
};

export function readBlocks(memory: Memory): BlockStats[] {
  const blocks: BlockStats[] = [];
  for (let number = 0; number < memory.sizes.blocks; number++) {
    const state = STATES[blockState(memory, number)];
    if (state === undefined) continue;
    const block = memory.blocks[number];
    const taken = block === null || block === undefined || state !== "online";
    const free = taken ? 0 : freeFramesOf(memory, block);
    const node = nodeOfBlock(memory, number);
    blocks.push({ block: number, node, state, frames: memory.blockLayout.frames, free });
  }
  return blocks;
}

export class BlockKeeper {
  readonly #memory: Memory;
  readonly #owner: BlockOwner;
  readonly #crew: () => Crew;
  /** Changes one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(memory: Memory, owner: BlockOwner, crew: () => Crew) {
    this.#memory = memory;
    this.#owner = owner;
    this.#crew = crew;
  }

  add(node: Nid): Promise<number> {
    return this.#inTurn(() => this.#owner.add(node));
  }

  /** Empties the block and takes it away; rejects, and the block is as before, if that cannot be. */
  offline(number: number, call: CallOptions): Promise<Released> {
    return this.#inTurn(async () => {
      await this.#owner.untilBack(number);
      this.#checkOnline(number);
      setBlockState(this.#memory, number, BLOCK_OFFLINE);
      await this.#evacuateOrUndo(number, call);
      const released = await this.#remove([number]);
      if (released.blocks === 0) throw this.#neededError(number);
      return released;
    });
  }

  /**
   * Takes away whatever can be emptied, so that each node keeps `reserve` frames free that have been in use. `stayed`:
   * blocks that could not be.
   */
  compact(reserve: number, call: CallOptions): Promise<Released & { readonly stayed: number }> {
    return this.#inTurn(async () => {
      const victims = planCompaction(this.#memory, reserve);
      // All of them at once: none is filled with what comes out of another.
      for (const number of victims) setBlockState(this.#memory, number, BLOCK_OFFLINE);
      for (const block of this.#memory.blocks) {
        if (block !== null) rewindBlock(this.#memory, block);
      }
      const released = await this.#remove(await this.#evacuateAll(victims, call));
      return { ...released, stayed: victims.length - released.blocks };
    });
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const checked = async (): Promise<T> => {
      this.#owner.check();
      return await work();
    };
    const result = this.#last.then(checked);
    this.#last = result.catch(() => {});
    return result;
  }

  #checkOnline(number: number): void {
    const known = Number.isInteger(number) && number >= 0 && number < this.#memory.sizes.blocks;
    if (known && blockState(this.#memory, number) === BLOCK_ONLINE) return;
    const state = known ? STATES[blockState(this.#memory, number)] : undefined;
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      state === undefined
        ? `there is no block ${number}; engine.blocks() tells which there are`
        : `block ${number} is ${state}; only one that is online can go offline`,
      { block: number, state: state ?? "absent" },
    );
  }

  /** Those of the blocks that could be emptied; the others are online again. */
  async #evacuateAll(numbers: readonly number[], call: CallOptions): Promise<number[]> {
    const emptied: number[] = [];
    try {
      for (const number of numbers) {
        await this.#evacuateOrUndo(number, call).then(
          () => emptied.push(number),
          (error: unknown) => {
            if (!isBusy(error)) throw error;
          },
        );
      }
    } catch (error) {
      for (const number of numbers) this.#undo(number);
      throw error;
    }
    return emptied;
  }

  #undo(number: number): void {
    // An engine that has ended, well or not, has no use for it, and nobody ends the round that may be under way.
    if (this.#owner.hasFailed) return;
    if (blockState(this.#memory, number) === BLOCK_OFFLINE) bringBack(this.#memory, number);
  }

  async #evacuateOrUndo(number: number, call: CallOptions): Promise<void> {
    try {
      await this.#evacuate(number, call);
    } catch (error) {
      this.#undo(number);
      throw error;
    }
  }

  /** Rounds until every frame of the block is isolated. */
  async #evacuate(number: number, call: CallOptions): Promise<void> {
    const { frames } = this.#memory.blockLayout;
    let before = -1;
    let since = performance.now();
    for (;;) {
      call.signal?.throwIfAborted();
      // Never given up half-way: a round that goes on unseen would isolate frames of a block that stays.
      const { isolated, result } = await this.#crew().evacuate(number);
      if (isolated === frames) break;
      if (isolated === NONE) throw this.#neededError(number);
      if (isolated > before) {
        before = isolated;
        since = performance.now();
      } else {
        if (performance.now() - since > STALL_MS) this.#throwIfHeld(number, result);
        // What holds the frames needs a moment: a batch of ksmd, a vCPU that comes to a safepoint.
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    }
    // From here on it goes, whoever gives the call up.
    call.signal?.throwIfAborted();
  }

  /**
   * ksmd forgets the blocks, every frame of which was isolated; then every thread lets go of them. Those stay that a
   * fault of this thread has brought back since.
   */
  async #remove(emptied: readonly number[]): Promise<Released> {
    // Looked at and marked in one go, with no await in between. From here on no fault brings them back: ksmd forgets
    // what it knows of their frames, and must not know new ones.
    const numbers = emptied.filter((number) => blockState(this.#memory, number) === BLOCK_OFFLINE);
    for (const number of numbers) setBlockState(this.#memory, number, BLOCK_LEAVING);
    if (numbers.length === 0) return { blocks: 0, bytes: 0 };
    await this.#crew().command({ kind: "forgetBlocks", blocks: numbers });
    const touched = await this.#owner.remove(numbers);
    return { blocks: numbers.length, bytes: touched * PAGE_SIZE };
  }

  /** Frames ran out, and the block was given back: it cannot go for want of them. */
  #neededError(number: number): PagefoldError {
    return new PagefoldError(
      "PAGEFOLD_BLOCK_BUSY",
      `block ${number} stays: guests need its frames. ${MENDS.no_frame}`,
      { block: number, reason: "no_frame" },
    );
  }

  /** Does not throw if the last frame that was held has just been freed. */
  #throwIfHeld(number: number, { failed }: MigrationResult): void {
    const held = new Int32Array(1);
    if (heldFrames(this.#memory, number, held) === 0) return;
    const frame = held[0] as Pfn;
    const reason = mostOf(failed);
    const whose = describeFrame(this.#memory, frame);
    throw new PagefoldError(
      "PAGEFOLD_BLOCK_BUSY",
      `block ${number} stays: frame ${frame}${whose.text} cannot be moved (${reason}). ${MENDS[reason]}`,
      { block: number, pfn: frame, reason, ...whose.details, failed },
    );
  }
}

type Reason = keyof MigrationFailures;

const MENDS: Readonly<Record<Reason, string>> = {
  pinned: "Close its pins, and repeat the call",
  busy: "Repeat the call",
  no_frame: "There is no free frame to move it to: give the engine more memoryPerNode",
  raced: "Repeat the call",
  timeout: "A vCPU reaches no safepoint: call poll() in its loops, and repeat the call",
};

/** The reason that most frames stayed for. */
function mostOf(failed: MigrationFailures): Reason {
  let most: Reason = "raced";
  for (const reason of Object.keys(failed) as Reason[]) {
    if (failed[reason] > failed[most]) most = reason;
  }
  return most;
}

function describeFrame(
  memory: Memory,
  pfn: Pfn,
): { readonly text: string; readonly details: Record<string, unknown> } {
  const mapping = readMapping(memory, pfn);
  if (mappingTag(mapping) !== MAPPING_TAG_ANON) return { text: "", details: {} };
  const guest = mappingId(mapping);
  const page = frameIndex(memory, pfn);
  return { text: `, page ${page} of guest ${guest},`, details: { guest, page } };
}

function isBusy(error: unknown): boolean {
  return error instanceof PagefoldError && error.code === "PAGEFOLD_BLOCK_BUSY";
}

/**
 * Blocks whose frames in use fit into what has been in use, and is free, of the other blocks of their node: emptiest
 * first. Blocks that have never been in use cost the system nothing, and stay; so does a node's last.
 */
function planCompaction(memory: Memory, reserve: number): number[] {
  const victims: number[] = [];
  for (let node = 0; node < memory.sizes.nodes; node++) {
    const blocks = usedBlocks(memory, node);
    let room = blocks.reduce((sum, { touched, used }) => sum + Math.max(0, touched - used), 0);
    let moving = 0;
    for (const { number, touched, used } of blocks.slice(0, -1)) {
      room -= Math.max(0, touched - used);
      moving += used;
      if (moving + reserve > room) break;
      victims.push(number);
    }
  }
  return victims;
}

interface UsedBlock {
  readonly number: number;
  readonly touched: number;
  readonly used: number;
}

/** The node's blocks that are online and have been in use, emptiest first. */
function usedBlocks(memory: Memory, node: Nid): UsedBlock[] {
  const { frames } = memory.blockLayout;
  const used: UsedBlock[] = [];
  for (const [number, block] of memory.blocks.entries()) {
    if (block === null || block.nid !== node) continue;
    if (blockState(memory, number) !== BLOCK_ONLINE) continue;
    const touched = touchedFrames(memory, block);
    if (touched > 0) used.push({ number, touched, used: frames - freeFramesOf(memory, block) });
  }
  return used.sort((a, b) => a.used - b.used || b.number - a.number);
}
