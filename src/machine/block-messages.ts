/**
 * block-messages - what the owner of an engine and its threads tell each other about blocks.
 *
 * Over BroadcastChannels, because a handle may be posted to any thread, and again: a port goes once. The owner listens
 * to the engine's channel; each thread to one of its own, named by its token. They keep no process alive.
 */
import type { SharedBlock } from "../base/memory.js";
import type { Nid } from "../base/units.js";

/** A block on its way, with its number. */
export interface NumberedBlock extends SharedBlock {
  readonly number: number;
}

/** A change of blocks, or, first, those that there are. */
export interface Change {
  readonly epoch: number;
  readonly add: readonly NumberedBlock[];
  readonly drop: readonly number[];
  /** Collect what was dropped before saying so. */
  readonly collect: boolean;
}

export type ToOwner =
  /** A thread joins, and waits for the blocks. */
  | { readonly hello: string; readonly thread: number; readonly name: string }
  /** It has taken part in a change. */
  | { readonly done: string }
  /** It leaves. */
  | { readonly bye: string }
  /** No frame is free. */
  | { readonly want: Nid };

/** Name of the channel of the thread with this token. */
export function memberChannel(channel: string, token: string): string {
  return `${channel}/${token}`;
}
