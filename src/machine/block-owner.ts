/**
 * block-owner - the engine's blocks, as the thread that created it keeps them: who has them, what comes, what goes.
 *
 * A change is sent to every thread that joined, counted (mm/blocks.ts), and complete when each has taken part, which
 * its word tells. Threads in a section are interrupted; one in its event loop hears by itself. One that does neither is
 * named, and the change is taken back.
 *
 * OWNS    engine.blockTries, engine.closed
 * ORDER   threads.see <- threads.done, threads.release; tries.end -> tries.look; closed.set -> closed.see
 */
import { BroadcastChannel } from "node:worker_threads";
import { addWord, countWord, loadWord, storeWord, waitWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import {
  BLOCK_ABSENT,
  BLOCK_JOINING,
  BLOCK_LEAVING,
  BLOCK_OFFLINE,
  BLOCK_ONLINE,
  ENGINE_BLOCK_TRIES,
  ENGINE_BLOCKS_ADDED,
  ENGINE_BLOCKS_REMOVED,
  ENGINE_CLOSED,
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
import { bringBack } from "../mm/isolate.js";
import { interruptVcpus } from "../mm/shootdown.js";
import { type Change, memberChannel, type NumberedBlock, type ToOwner } from "./block-messages.js";
import { collectGarbage } from "./garbage.js";
import { ringBell } from "./ksmd.js";
import { setLocalOwner, takeLocalChanges } from "./local-hosts.js";

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
  readonly fail?: (error: Error) => void;
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
  /** Blocks that could not go, on their way back to every thread. */
  readonly #returning = new Map<number, number>();
  #memory: Memory | null = null;
  #growing = false;
  /** Somebody waits for a block, and some are about to be gone: then there is a number for one. */
  #tryWhenGone = false;
  #failed: Error | null = null;

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
    setLocalOwner(this.#name, this);
  }

  /** The owner makes the changes, and has taken part in each before others hear of it. */
  takeChanges(): void {}

  /** For a fault of the owner's own thread: it cannot wait for messages, and does it all in this call. */
  growMemory(node: Nid): boolean {
    const memory = this.#memory as Memory;
    if (this.#joining.size === 0) {
      const number = this.#absentNumber(node);
      if (number === null) return this.#bringBackOffline();
      const block = createBlockOrNull(memory, nodeOfBlock(memory, number));
      // The fault that asks says that there is no frame; here an error would fall through the fault's own steps.
      if (block === null) return false;
      this.#announceNew(number, block);
    }
    let grown = false;
    for (const [number, epoch] of [...this.#joining]) {
      grown = this.#endAdding(number, this.#awaitSync(epoch)) || grown;
    }
    return grown;
  }

  /** Whatever waits for a thread rejects with this, and so does whatever is asked for later. */
  fail(error: Error): void {
    this.#failed ??= error;
    for (const waiting of this.#waiting) waiting.fail?.(error);
    this.#waiting.clear();
  }

  get hasFailed(): boolean {
    return this.#failed !== null;
  }

  /** Throws if it has failed. */
  check(): void {
    if (this.#failed !== null) throw this.#failed;
  }

  leave(): void {
    setLocalOwner(this.#name, null);
    if (this.#memory !== null) {
      const { control, layout } = this.#memory;
      // ORDER closed.set -> closed.see: who joins from here on would wait for an answer in vain.
      storeWord(control, layout.engine + ENGINE_CLOSED, 1);
    }
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
    if (!this.#endAdding(number, stuck)) throw stuckError("has not taken the new block", stuck);
    return number;
  }

  /**
   * Takes blocks away, LEAVING, whose frames are all isolated and which ksmd has forgotten; resolves with the frames
   * that had been in use, when every thread has let go of them. Not so within `faultTimeout`: they are given back,
   * and it rejects.
   */
  async remove(numbers: readonly number[]): Promise<number> {
    const memory = this.#memory as Memory;
    const kept = new Map(numbers.map((number) => [number, memory.blocks[number] as Block]));
    const touched = numbers.map((number) => touchedFrames(memory, kept.get(number) as Block));
    for (const number of numbers) detachBlock(memory, number);
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
    this.#endWaitForGone();
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
      else if (this.#bringBackOffline() || !this.#anyLeaving()) this.#endTry();
      else this.#tryWhenGone = true;
    } catch {
      // Told by the allocation that finds no frame, if it is told that the try has ended.
      this.#endTry();
    } finally {
      this.#growing = false;
    }
  }

  // --- changes ------------------------------------------------------------------------------------

  /** Frames have run out: blocks that are being emptied stay after all. False: there are none. */
  #bringBackOffline(): boolean {
    const memory = this.#memory as Memory;
    let found = false;
    for (let number = 0; number < memory.sizes.blocks; number++) {
      if (blockState(memory, number) !== BLOCK_OFFLINE) continue;
      bringBack(memory, number);
      found = true;
    }
    return found;
  }

  #anyLeaving(): boolean {
    const memory = this.#memory as Memory;
    return memory.blocks.some((_, number) => blockState(memory, number) === BLOCK_LEAVING);
  }

  #endWaitForGone(): void {
    if (!this.#tryWhenGone) return;
    this.#tryWhenGone = false;
    this.#endTry();
  }

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

  /** Gives the new block's frames out, or takes the block back from those that have it; once. Is it there now? */
  #endAdding(number: number, stuck: readonly Member[]): boolean {
    const memory = this.#memory as Memory;
    if (!this.#joining.delete(number)) return blockState(memory, number) === BLOCK_ONLINE;
    if (stuck.length === 0) {
      initBlock(memory, number);
      countWord(memory.control, memory.layout.engine + ENGINE_BLOCKS_ADDED, 1);
    } else {
      detachBlock(memory, number);
      const epoch = this.#announce([], [number]);
      this.#whenComplete(epoch, () => setBlockState(memory, number, BLOCK_ABSENT));
    }
    this.#endTry();
    return stuck.length === 0;
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
    const epoch = this.#announce(add, []);
    for (const { number } of add) this.#returning.set(number, epoch);
    this.#whenComplete(epoch, () => {
      for (const { number } of add) {
        bringBack(memory, number);
        this.#returning.delete(number);
      }
      this.#endWaitForGone();
    });
  }

  /** Resolves when the block, if it is on its way back, is. */
  async untilBack(number: number): Promise<void> {
    const epoch = this.#returning.get(number);
    const stuck = epoch === undefined ? [] : await this.#await(epoch);
    if (stuck.length > 0) throw stuckError("has not taken the block back", stuck);
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
    return new Promise((resolve, reject) => {
      const { patience } = this.#memory as Memory;
      const end = (then: () => void) => () => {
        clearTimeout(timer);
        then();
      };
      const complete = end(() => resolve([]));
      const fail = (error: Error): void => end(() => reject(error))();
      const waiting = { epoch, complete, fail };
      this.#waiting.add(waiting);
      // It keeps the process alive as well: the channels do not.
      const timer = setTimeout(() => {
        this.#waiting.delete(waiting);
        resolve(this.#behind(epoch));
      }, patience.faultMs);
      this.#checkWaiting();
    });
  }

  #whenComplete(epoch: number, complete: () => void): void {
    this.#waiting.add({ epoch, complete });
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
        // Some of them may be this very thread's.
        takeLocalChanges(this.#name);
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

/** A block; null: the system gives this process no more memory. */
function createBlockOrNull(memory: Memory, node: Nid): SharedBlock | null {
  try {
    return createBlock(memory.sizes, node);
  } catch (error) {
    if (error instanceof PagefoldError && error.code === "PAGEFOLD_NO_MEMORY") return null;
    throw error;
  }
}

function stuckError(what: string, stuck: readonly Member[]): PagefoldError {
  const names = stuck.map(({ name }) => name);
  const threads = stuck.map(({ thread }) => thread);
  return new PagefoldError(
    "PAGEFOLD_THREAD_STUCK",
    `${names.join(", ")} ${what}: a thread owes a safepoint, or its event loop, from time to time. ` +
      "Call poll() in its loops (ksmd: let it end what it was asked for), and repeat the call",
    { threads: names, numbers: threads },
  );
}
