/**
 * events - what the command did to the machine, and what came of it: the last of it is what a failure is told with.
 */
const KEPT = 512;

export interface Event {
  /** Milliseconds since the stress began. */
  readonly ms: number;
  readonly what: string;
}

export class EventLog {
  readonly #started = performance.now();
  readonly #events: Event[] = [];

  add(what: string): void {
    const ms = Math.round(performance.now() - this.#started);
    if (this.#events.push({ ms, what }) > 2 * KEPT) this.#events.splice(0, KEPT);
  }

  /** The last of them, oldest first. */
  get events(): readonly Event[] {
    return this.#events.slice(-KEPT);
  }
}
