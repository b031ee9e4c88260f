/** threads - what the explorer knows of a thread, and what it keeps of an execution to go on from there. */
import { mix } from "./search.js";

/** How far a thread has come. */
interface Progress {
  /** Hash of its log. */
  low: number;
  high: number;
  asleep: { words: Int32Array; index: number } | null;
  over: boolean;
}

export interface Thread extends Progress {
  readonly name: string;
  readonly number: number;
  readonly body: () => void;
  /** Results of its operations. */
  readonly log: number[];
  cursor: number;
}

/** All that an execution had done when the scheduler chose; what other executions that go on from there need. */
export interface Checkpoint {
  readonly writes: number;
  readonly steps: number;
  readonly preempted: number;
  /** Length of the schedule, and its last count. */
  readonly ran: number;
  readonly last: number;
  /** The thread that would have gone on; null: none was running. */
  readonly current: Thread | null;
  readonly threads: readonly (Progress & { readonly logged: number })[];
}

/** What a word held before it was written. */
export interface Write {
  readonly words: Int32Array;
  readonly index: number;
  readonly value: number;
}

/** Adds the result of an operation to the thread's log. */
export function record(thread: Thread, value: number): void {
  thread.log.push(value);
  thread.low = mix(thread.low + 0x3c6ef372, value);
  thread.high = mix(thread.high ^ 0x5bd1e995, value);
}
