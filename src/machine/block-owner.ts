/**
 * block-owner - the engine's blocks, as the thread that created it keeps them: who has them, what comes, what goes.
 *
 * A change is sent to every thread that joined, counted (mm/blocks.ts), and complete when each has taken part, which
 * its word tells. Threads in a section are interrupted; one in its event loop hears by itself. One that does neither is
 * named, and the change is taken back.
 *
 * OWNS    engine.blockTries
 * ORDER   threads.see <- threads.done, threads.release; tries.end -> tries.look
 */
import { BroadcastChannel } from "node:worker_threads";
import { addWord, countWord, loadWord, waitWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import {
  BLOCK_ABSENT,
  BLOCK_JOINING,
  BLOCK_LEAVING,
  BLOCK_ONLINE,
  ENGINE_BLOCK_TRIES,
  ENGINE_BLOCKS_ADDED,
  ENGINE_BLOCKS_REMOVED,
} from "../base/layout.js";
import {
  attachBlock,
  type Block,
  createBlock,
  detachBlock,
  type Memory,
  type MemoryHost,
  type SharedBlock,
} from "../base/memory.js";
import type { Nid, ThreadId } from "../base/units.js";
import {
  announceChange,
  blockState,
  nodeOfBlock,
  setBlockState,
  setReleasedFrames,
  soundBell,
} from "../mm/blocks.js";
import { initBlock, touchedFrames } from "../mm/frames.js";
import { undoIsolation } from "../mm/isolate.js";
import { interruptVcpus } from "../mm/shootdown.js";
import { type Change, memberChannel, type NumberedBlock, type ToOwner } from "./block-messages.js";
import { collectGarbage } from "./garbage.js";
import { ringBell } from "./ksmd.js";

/** As it is used here; node's types leave unref() and the handler to others. */
type Listening = BroadcastChannel & { onmessage: (event: unknown) => void };

interface Member {
  readonly thread: ThreadId;
  readonly name: string;
  readonly channel: BroadcastChannel;
}

/** A change that is not complete yet. */
interface Waiting {
  readonly epoch: number;
  readonly complete: () => void;
}

export class BlockOwner implements MemoryHost {
  epoch = 0;
  readonly #channel: Listening;
  readonly #name: string;
  readonly #collect: boolean;
  readonly #members = new Map<string, Member>();
  readonly #waiting = new Set<Waiting>();
  /** Blocks on their way to every thread, by number: the change that brings them. */
  readonly #joining = new Map<number, number>();
  #memory: Memory | null = null;
  #growing = false;

  /** `channel`: name of the engine's; `collect`: threads collect what they drop. */
  constructor(channel: string, collect: boolean) {
    this.#name = channel;
    this.#collect = collect;
    this.#channel = new BroadcastChannel(channel) as Listening;
    this.#channel.unref();
    this.#channel.onmessage = (event) => this.#take((event as { data: ToOwner }).data);
  }

  /** The view of the owner's thread; before anybody joins. */
  start(memory: Memory): void {
    this.#memory = memory;
  }

  /** The owner makes the changes, and has taken part in each before others hear of it. */
  takeChanges(): void {}

  /** For a fault of the owner's own thread: it cannot wait for messages, and does it all in this call. */
  growMemory(node: Nid): boolean {
    const memory = this.#memory as Memory;
    if (this.#joining.size === 0) {
      const number = this.#absentNumber(node);
      if (number === null) return false;
      this.#announceNew(number, createBlock(memory.sizes, nodeOfBlock(memory, number)));
    }
    let grown = false;
    for (const [number, epoch] of [...this.#joining]) {
      const stuck = this.#awaitSync(epoch);
      this.#endAdding(number, stuck);
      grown ||= stuck.length === 0;
    }
    return grown;
  }

  leave(): void {
    for (const token of [...this.#members.keys()]) this.#leave(token);
    this.#channel.close();
  }

  /** Adds a block to the node; resolves with its number when every thread has it. */
  async add(node: Nid): Promise<number> {
    const memory = this.#memory as Memory;
    const number = this.#absentNumber(node, true);
    if (number === null) {
      throw new PagefoldError(
        "PAGEFOLD_NO_ROOM",
        `node ${node} has all the blocks that it may have; ` +
          "create the engine with a larger maxMemoryPerNode",
        { node },
      );
    }
    const epoch = this.#announceNew(number, createBlock(memory.sizes, node));
    const stuck = await this.#await(epoch);
    this.#endAdding(number, stuck);
    if (stuck.length > 0) throw stuckError("has not taken the new block", stuck);
    return number;
  }

  /**
   * Takes blocks away whose frames are all isolated; resolves with the frames that had been in use, when every
   * thread has let go of them. Not so within `faultTimeout`: they are given back, and it rejects.
   */
  async remove(numbers: readonly number[]): Promise<number> {
    const memory = this.#memory as Memory;
    const kept = new Map(numbers.map((number) => [number, memory.blocks[number] as Block]));
    const touched = numbers.map((number) => touchedFrames(memory, kept.get(number) as Block));
    for (const number of numbers) {
      setBlockState(memory, number, BLOCK_LEAVING);
      detachBlock(memory, number);
    }
    const stuck = await this.#await(this.#announce([], numbers));
    if (stuck.length > 0) {
      this.#giveBack(kept);
      throw stuckError("does not let go of the block", stuck);
    }
    kept.clear();
    numbers.forEach((number, i) => {
      setReleasedFrames(memory, number, touched[i] as number);
      setBlockState(memory, number, BLOCK_ABSENT);
    });
    countWord(memory.control, memory.layout.engine + ENGINE_BLOCKS_REMOVED, numbers.length);
    if (this.#collect) collectGarbage();
    return touched.reduce((sum, frames) => sum + frames, 0);
  }

  /** The thread is gone without a word. */
  forget(thread: ThreadId): void {
    for (const [token, member] of this.#members) {
      if (member.thread === thread) this.#leave(token);
    }
  }

  // --- messages -----------------------------------------------------------------------------------

  #take(message: ToOwner): void {
    if ("hello" in message) this.#welcome(message.hello, message.thread, message.name);
    else if ("bye" in message) this.#leave(message.bye);
    else if ("done" in message) this.#checkWaiting();
    else void this.#grow(message.want);
  }

  #welcome(token: string, thread: ThreadId, name: string): void {
    const channel = new BroadcastChannel(memberChannel(this.#name, token));
    channel.unref();
    this.#members.set(token, { thread, name, channel });
    const add: NumberedBlock[] = [];
    for (const [number, block] of (this.#memory as Memory).blocks.entries()) {
      if (block !== null) add.push({ number, nid: block.nid, memory: block.memory });
    }
    channel.postMessage({ epoch: this.epoch, add, drop: [], collect: false } satisfies Change);
  }

  #leave(token: string): void {
    this.#members.get(token)?.channel.close();
    this.#members.delete(token);
    this.#checkWaiting();
  }

  /** Frames have run out somewhere. Whoever asked meanwhile asks again when it finds none. */
  async #grow(node: Nid): Promise<void> {
    if (this.#growing) return;
    this.#growing = true;
    const memory = this.#memory as Memory;
    const number = this.#absentNumber(node);
    try {
      if (number !== null) await this.add(nodeOfBlock(memory, number));
      else this.#endTry();
    } catch {
      // Told by the allocation that finds no frame: the try has ended.
    } finally {
      this.#growing = false;
    }
  }

  // --- changes ------------------------------------------------------------------------------------

  /** A number without a block: of the node, or, unless `only` that will do, of any. */
  #absentNumber(node: Nid, only = false): number | null {
    const memory = this.#memory as Memory;
    // A number may be waiting for threads that have let go of it, and whose messages are on the way.
    this.#checkWaiting();
    let other: number | null = null;
    for (let number = 0; number < memory.sizes.blocks; number++) {
      if (blockState(memory, number) !== BLOCK_ABSENT) continue;
      if (nodeOfBlock(memory, number) === node) return number;
      other ??= number;
    }
    return only ? null : other;
  }

  #announceNew(number: number, block: SharedBlock): number {
    const memory = this.#memory as Memory;
    setBlockState(memory, number, BLOCK_JOINING);
    attachBlock(memory, number, block);
    const epoch = this.#announce([{ number, ...block }], []);
    this.#joining.set(number, epoch);
    return epoch;
  }

  /** Gives the new block's frames out, or takes the block back from those that have it; once. */
  #endAdding(number: number, stuck: readonly Member[]): void {
    const memory = this.#memory as Memory;
    if (!this.#joining.delete(number)) return;
    if (stuck.length === 0) {
      initBlock(memory, number);
      countWord(memory.control, memory.layout.engine + ENGINE_BLOCKS_ADDED, 1);
    } else {
      detachBlock(memory, number);
      const epoch = this.#announce([], [number]);
      this.#whenComplete(epoch, () => setBlockState(memory, number, BLOCK_ABSENT));
    }
    this.#endTry();
  }

  #endTry(): void {
    const memory = this.#memory as Memory;
    // ORDER tries.end -> tries.look: after the frames are there; else who is woken finds none and asks again.
    addWord(memory.control, memory.layout.engine + ENGINE_BLOCK_TRIES, 1);
    soundBell(memory);
  }

  /** Blocks that could not go: their frames are given out again when every thread has them again. */
  #giveBack(blocks: ReadonlyMap<number, Block>): void {
    const memory = this.#memory as Memory;
    const add: NumberedBlock[] = [];
    for (const [number, { nid, memory: shared }] of blocks) {
      attachBlock(memory, number, { nid, memory: shared });
      add.push({ number, nid, memory: shared });
    }
    this.#whenComplete(this.#announce(add, []), () => {
      for (const { number } of add) onlineAgain(memory, number);
    });
  }

  /** Tells every thread; returns the change's number. */
  #announce(add: readonly NumberedBlock[], drop: readonly number[]): number {
    const memory = this.#memory as Memory;
    const change: Change = { epoch: this.epoch + 1, add, drop, collect: this.#collect };
    for (const { channel } of this.#members.values()) channel.postMessage(change);
    this.epoch = announceChange(memory);
    ringBell(memory);
    interruptVcpus(memory);
    return this.epoch;
  }

  // --- waiting for the others ---------------------------------------------------------------------

  #behind(epoch: number): Member[] {
    return [...this.#members.values()].filter(
      ({ thread }) => !wordIsDone(this.#threadWord(thread), epoch),
    );
  }

  #threadWord(thread: ThreadId): number {
    const { control, layout } = this.#memory as Memory;
    // ORDER threads.see <- threads.done, threads.release
    return loadWord(control, layout.threads + thread);
  }

  /** Who has not taken part within `faultTimeout`; empty: all have. */
  #await(epoch: number): Promise<Member[]> {
    return new Promise((resolve) => {
      const { patience } = this.#memory as Memory;
      const waiting = this.#whenComplete(epoch, () => {
        clearTimeout(timer);
        resolve([]);
      });
      // It keeps the process alive as well: the channels do not.
      const timer = setTimeout(() => {
        this.#waiting.delete(waiting);
        resolve(this.#behind(epoch));
      }, patience.faultMs);
      this.#checkWaiting();
    });
  }

  #whenComplete(epoch: number, complete: () => void): Waiting {
    const waiting = { epoch, complete };
    this.#waiting.add(waiting);
    return waiting;
  }

  #checkWaiting(): void {
    for (const waiting of this.#waiting) {
      if (this.#behind(waiting.epoch).length > 0) continue;
      this.#waiting.delete(waiting);
      waiting.complete();
    }
  }

  #awaitSync(epoch: number): Member[] {
    const { control, layout, patience } = this.#memory as Memory;
    const deadline = performance.now() + patience.faultMs;
    for (const { thread } of this.#members.values()) {
      for (;;) {
        const word = this.#threadWord(thread);
        const left = deadline - performance.now();
        if (wordIsDone(word, epoch) || left <= 0) break;
        // ORDER threads.sleep <-> threads.done: on the very value that was judged.
        waitWord(control, layout.threads + thread, word, left);
      }
    }
    return this.#behind(epoch);
  }
}

/** Has the thread with this word taken part in the change? 0: it has left, and its message is on the way. */
function wordIsDone(word: number, epoch: number): boolean {
  return word === 0 || word - 1 >= epoch;
}

/** The block stays: its isolated frames may be taken again. */
export function onlineAgain(memory: Memory, number: number): void {
  undoIsolation(memory, number);
  setBlockState(memory, number, BLOCK_ONLINE);
}

function stuckError(what: string, stuck: readonly Member[]): PagefoldError {
  const names = stuck.map(({ name }) => name);
  return new PagefoldError(
    "PAGEFOLD_THREAD_STUCK",
    `${names.join(", ")} ${what}: a thread owes a safepoint, or its event loop, from time to time. ` +
      "Call poll() in its loops, and repeat the call",
    { threads: names },
  );
}
