/** search - what the explorer remembers from one execution to the next. */

/**
 * Enumerates all sequences of choices: each run makes those of the one before, up to the last that has another
 * branch, and takes that branch. A run may begin at that choice, with what was noted there.
 */
export class Choices<Note> {
  private readonly taken: { index: number; last: number; note: Note }[] = [];
  private position = 0;

  choose(count: number, note: () => Note): number {
    if (count <= 1) return 0;
    if (this.position === this.taken.length) {
      this.taken.push({ index: 0, last: count - 1, note: note() });
    }
    return (this.taken[this.position++] as { index: number }).index;
  }

  /** Is the next choice one that no execution has made before? */
  atEnd(): boolean {
    return this.position === this.taken.length;
  }

  /** The next choice is the first. */
  rewind(): void {
    this.position = 0;
  }

  /** What was noted at the next choice; null: it is to be made for the first time. */
  checkpoint(): Note | null {
    return this.taken[this.position]?.note ?? null;
  }

  /** Moves on to the next sequence, of which the last choice is the next; false when there is none. */
  advance(): boolean {
    for (;;) {
      const choice = this.taken.at(-1);
      if (choice === undefined) return false;
      if (choice.index < choice.last) {
        choice.index++;
        this.position = this.taken.length - 1;
        return true;
      }
      this.taken.pop();
    }
  }
}

/** Which threads read and wrote each shared word, over all executions of a search so far. */
export class Contention {
  /** Per word: bit t: thread t touched it; bit 15 + t: thread t wrote it; the sign: it is a scheduling point. */
  private readonly touched = new Map<Int32Array, Int32Array>();
  /** The last words that were asked for, and their bits: most operations are on those of the one before. */
  private words: Int32Array | null = null;
  private masks: Int32Array | null = null;
  /** Words found contended by the execution under way; scheduling points from the next one on. */
  private readonly found: { masks: Int32Array; index: number }[] = [];

  note(words: Int32Array, index: number, thread: number, write: boolean): void {
    const masks = this.masksOf(words);
    if (masks === null) return;
    const before = masks[index] as number;
    const after = before | (1 << thread) | (write ? 1 << (15 + thread) : 0);
    if (after === before) return;
    masks[index] = after;
    if (after > 0 && contended(after)) this.found.push({ masks, index });
  }

  has(words: Int32Array, index: number): boolean {
    const masks = this.masksOf(words);
    return masks === null || (masks[index] as number) < 0;
  }

  /** Null: words outside shared memory. */
  private masksOf(words: Int32Array): Int32Array | null {
    if (words === this.words) return this.masks;
    this.words = words;
    this.masks = this.touched.get(words) ?? null;
    if (this.masks === null && words.buffer instanceof SharedArrayBuffer) {
      this.masks = new Int32Array(words.length);
      this.touched.set(words, this.masks);
    }
    return this.masks;
  }

  /** Makes what was found scheduling points; false: nothing was. */
  grow(): boolean {
    if (this.found.length === 0) return false;
    for (const { masks, index } of this.found) masks[index] = (masks[index] as number) | (1 << 31);
    this.found.length = 0;
    return true;
  }
}

function contended(mask: number): boolean {
  const touched = mask & 0x7fff;
  return mask >>> 15 !== 0 && (touched & (touched - 1)) !== 0;
}

/** A thread, as far as it tells states apart. */
interface ThreadState {
  readonly low: number;
  readonly high: number;
  readonly asleep: { readonly index: number } | null;
}

/** Which states an execution has met with at most so many preemptions; the memory's hash is kept up to date. */
export class States {
  private readonly seen = new Map<number, number>();
  private readonly ids = new Map<Int32Array, number>();
  private low = 0;
  private high = 0;

  changed(words: Int32Array, index: number, before: number, after: number): void {
    if (before === after) return;
    let id = this.ids.get(words);
    if (id === undefined) {
      id = this.ids.size + 1;
      this.ids.set(words, id);
    }
    const at = Math.imul(index + 1, 0x9e3779b1) ^ Math.imul(id, 0x27d4eb2f);
    this.low ^= mix(at, before) ^ mix(at, after);
    this.high ^= mix(~at, before) ^ mix(~at, after);
  }

  /** True: the state was met before, with no more preemptions than now. */
  met(threads: readonly ThreadState[], current: number, preempted: number): boolean {
    let low = mix(this.low, current);
    let high = mix(this.high, current);
    for (const thread of threads) {
      const sleeping = thread.asleep === null ? 0 : thread.asleep.index + 1;
      low = mix(mix(low, thread.low), sleeping);
      high = mix(mix(high, thread.high), sleeping);
    }
    const key = (low >>> 0) * 2 ** 21 + (high >>> 11);
    const before = this.seen.get(key);
    if (before !== undefined && before <= preempted) return true;
    this.seen.set(key, preempted);
    return false;
  }
}

/** One step of a hash. */
export function mix(seed: number, value: number): number {
  let hash = Math.imul(seed ^ Math.imul(value, 0xcc9e2d51), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0xc2b2ae35);
  return hash ^ (hash >>> 13);
}
