/**
 * rates - what is done a second, since the last look.
 */
import { count } from "../screen/figures.js";

export class Rates {
  #before: readonly number[] = [];
  #at = performance.now();

  /** `totals`: a name for what is counted, and how much there has been so far. */
  since(totals: readonly (readonly [name: string, total: number])[]): string[] {
    const now = performance.now();
    const seconds = (now - this.#at) / 1000;
    const rates = totals.map(([name, total], i) => {
      const rate = seconds > 0 ? (total - (this.#before[i] ?? 0)) / seconds : 0;
      return `${count(rate)} ${name}/s`;
    });
    this.#before = totals.map(([, total]) => total);
    this.#at = now;
    return rates;
  }
}
