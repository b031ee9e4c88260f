/**
 * latency - how long operations took: counts in buckets whose bounds grow by a tenth, so that nothing is
 * allocated for an operation and a percentile is at most a tenth too high.
 */

/** Milliseconds at which the first bucket ends: what a clock tells apart. */
const FIRST_MS = 0.0001;
const BUCKETS_PER_E = 10;
/** The last bucket begins at about an hour. */
const BUCKETS = 245;

export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export class Latencies {
  readonly #counts: Float64Array;
  #max: number;

  constructor(counts: Float64Array = new Float64Array(BUCKETS), max = 0) {
    this.#counts = counts;
    this.#max = max;
  }

  add(ms: number): void {
    const bucket = ms <= FIRST_MS ? 0 : Math.ceil(Math.log(ms / FIRST_MS) * BUCKETS_PER_E);
    this.#counts[Math.min(bucket, BUCKETS - 1)]++;
    if (ms > this.#max) this.#max = ms;
  }

  /** For another thread, which adds them to its own with `addAll`. */
  get sums(): { readonly counts: Float64Array; readonly max: number } {
    return { counts: this.#counts, max: this.#max };
  }

  addAll({ counts, max }: Latencies["sums"]): void {
    counts.forEach((count, i) => {
      this.#counts[i] += count;
    });
    this.#max = Math.max(this.#max, max);
  }

  /** In milliseconds; null when there was no operation. */
  summary(): Latency | null {
    const total = this.#counts.reduce((sum, count) => sum + count, 0);
    if (total === 0) return null;
    const at = (part: number): number => {
      let left = Math.ceil(total * part);
      const bucket = this.#counts.findIndex((count) => {
        left -= count;
        return left <= 0;
      });
      return Math.min(FIRST_MS * Math.exp(bucket / BUCKETS_PER_E), this.#max);
    };
    return { p50: at(0.5), p99: at(0.99), p999: at(0.999), max: this.#max };
  }
}
