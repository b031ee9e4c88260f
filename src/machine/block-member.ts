/**
 * block-member - a thread that joined an engine, as far as its blocks go: takes part in their changes, asks for more.
 *
 * In its event loop it hears of a change at once; in a synchronous section at its next safepoint (takeChanges in
 * mm/blocks.ts), where the messages are taken by receiveMessageOnPort. Both are between mm operations.
 *
 * OWNS    the thread's word, from joining on (claimed and released in machine/handle.ts)
 * ORDER   threads.done -> threads.see; blocks.look <- blocks.sound
 */
import { randomUUID } from "node:crypto";
import { BroadcastChannel, type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { loadWord, notifyWord, storeWord } from "../base/atomics.js";
import { PagefoldError } from "../base/errors.js";
import {
  BLOCK_ONLINE,
  ENGINE_BLOCK_BELL,
  ENGINE_BLOCK_TRIES,
  ENGINE_CLOSED,
} from "../base/layout.js";
import { attachBlock, detachBlock, type Memory, type MemoryHost } from "../base/memory.js";
import type { Nid } from "../base/units.js";
import { blockState } from "../mm/blocks.js";
import { sleepWhile } from "../mm/wait.js";
import { type Change, memberChannel, type ToOwner } from "./block-messages.js";
import { collectGarbage } from "./garbage.js";
import { addLocalMember, localOwner, removeLocalMember, takeLocalChanges } from "./local-hosts.js";

/** How long a thread that joins waits for the owner's answer. */
const JOIN_MS = 10_000;

/** As it is used here; node's types do not have it that receiveMessageOnPort takes one. */
type Channel = BroadcastChannel & MessagePort & { onmessage: (event: unknown) => void };

export class BlockMember implements MemoryHost {
  epoch = 0;
  readonly #token = randomUUID();
  readonly #mine: Channel;
  readonly #owner: Channel;
  #memory: Memory | null = null;
  /** Changes that came before there was a memory to apply them to. */
  readonly #early: Change[] = [];

  constructor(
    private readonly channel: string,
    private readonly thread: number,
    private readonly name: string,
  ) {
    this.#mine = new BroadcastChannel(memberChannel(channel, this.#token)) as Channel;
    this.#owner = new BroadcastChannel(channel) as Channel;
    this.#owner.unref();
  }

  /** Asks the owner for the blocks; PAGEFOLD_CLOSED: nobody answers. */
  async join({ control, layout }: Memory): Promise<void> {
    // ORDER closed.see <- closed.set
    if (loadWord(control, layout.engine + ENGINE_CLOSED) === 1) throw noAnswer();
    const answered = new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => resolve(false), JOIN_MS);
      this.#mine.onmessage = (event) => {
        this.#early.push((event as { data: Change }).data);
        clearTimeout(timer);
        resolve(true);
      };
    });
    this.#tell({ hello: this.#token, thread: this.thread, name: this.name });
    if (!(await answered)) throw noAnswer();
  }

  /** From now on `memory` has the blocks that there are. */
  start(memory: Memory): void {
    this.#memory = memory;
    this.#mine.unref();
    addLocalMember(this.channel, this);
    this.#mine.onmessage = (event) => this.#apply((event as { data: Change }).data);
    for (const change of this.#early.splice(0)) this.#apply(change);
  }

  takeChanges(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.#mine) as { message: Change } | undefined;
      if (received === undefined) return;
      this.#apply(received.message);
    }
  }

  growMemory(node: Nid): boolean {
    const memory = this.#memory as Memory;
    const { control, layout, patience, sizes } = memory;
    const owner = localOwner(this.channel);
    if (owner !== undefined) return owner.growMemory(node);
    if (!blocksMayCome(memory)) return false;
    const bell = layout.engine + ENGINE_BLOCK_BELL;
    const tries = layout.engine + ENGINE_BLOCK_TRIES;
    // ORDER tries.look <- tries.end: before the owner is asked; else the answer is taken for one of before.
    const before = loadWord(control, tries);
    const deadline = performance.now() + patience.faultMs;
    this.#tell({ want: Math.min(node, sizes.nodes - 1) });
    while (performance.now() < deadline) {
      // ORDER blocks.look <-> blocks.sound: before looking for what it is sounded for; else we sleep on it.
      const rung = loadWord(control, bell);
      // The owner waits for us as well before the block is there.
      takeLocalChanges(this.channel);
      if (loadWord(control, tries) !== before) return true;
      sleepWhile(memory, control, bell, rung);
    }
    return false;
  }

  leave(): void {
    removeLocalMember(this.channel, this);
    this.#tell({ bye: this.#token });
    this.#mine.close();
    this.#owner.close();
  }

  #apply(change: Change): void {
    const memory = this.#memory as Memory;
    for (const { number, ...block } of change.add) attachBlock(memory, number, block);
    for (const number of change.drop) detachBlock(memory, number);
    if (change.collect && change.drop.length > 0) collectGarbage();
    this.epoch = change.epoch;
    const word = memory.layout.threads + memory.thread;
    // ORDER threads.done <-> threads.see, threads.sleep: after the views are gone; else the number gets another block
    // under us.
    storeWord(memory.control, word, change.epoch + 1);
    notifyWord(memory.control, word, Number.POSITIVE_INFINITY);
    this.#tell({ done: this.#token });
  }

  #tell(message: ToOwner): void {
    this.#owner.postMessage(message);
  }
}

/** Is there a number without a block, or a block that is coming, or going and may come back? */
function blocksMayCome(memory: Memory): boolean {
  return memory.blocks.some((_, number) => blockState(memory, number) !== BLOCK_ONLINE);
}

function noAnswer(): PagefoldError {
  return new PagefoldError(
    "PAGEFOLD_CLOSED",
    "nobody answers for this engine: it is closed, or the thread that created it never comes to its event loop",
  );
}
