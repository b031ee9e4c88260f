/**
 * channel - calls over a message port: one reply each, matched by number, rejected when the other side dies.
 */
import type { MessagePort } from "node:worker_threads";
import { onAbort } from "./abort.js";
import { fromWire, type WireError } from "./commands.js";

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What every call that may wait takes last. */
export interface CallOptions {
  /**
   * Rejects the call with the signal's reason when aborted. What was asked for may be done all the same.
   */
  readonly signal?: AbortSignal | undefined;
}

type Reply = { id: number; value: unknown } | { id: number; error: WireError };

/** The calling side. The port keeps the process alive only while a call is pending. */
export class Channel<Outgoing, Event = never> {
  readonly #port: MessagePort;
  readonly #pending = new Map<number, Pending>();
  readonly #posted: () => void;
  #next = 0;
  #dead: Error | null = null;

  /** `posted` is called after each message (to wake the other side); `onEvent` gets what is no reply. */
  constructor(port: MessagePort, posted: () => void, onEvent: (event: Event) => void) {
    this.#port = port;
    this.#posted = posted;
    port.on("message", (message: Reply | Event) => {
      if (typeof message === "object" && message !== null && "id" in message) this.#settle(message);
      else onEvent(message as Event);
    });
    port.unref();
  }

  /** Sends what `message` makes of the call's number; resolves with the reply. */
  call(message: (id: number) => Outgoing, options: CallOptions = {}): Promise<unknown> {
    const { signal } = options;
    if (this.#dead !== null) return Promise.reject(this.#dead);
    if (signal?.aborted) return Promise.reject(signal.reason);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      const done = onAbort(signal, () => {
        this.#take(id);
        this.post({ id: this.#next++, cancel: id } as Outgoing);
        reject(signal?.reason);
      });
      this.#pending.set(id, {
        resolve: (value) => {
          done();
          resolve(value);
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      this.#port.ref();
      try {
        this.post(message(id));
      } catch (error) {
        // What cannot be cloned was not sent, and no reply will come.
        this.#take(id)?.reject(error);
      }
    });
  }

  /** Sends a message that has no reply. */
  post(message: Outgoing): void {
    this.#port.postMessage(message);
    this.#posted();
  }

  /** Rejects every pending call, and every later one. */
  fail(error: Error): void {
    this.#dead ??= error;
    for (const id of [...this.#pending.keys()]) this.#take(id)?.reject(error);
  }

  close(error: Error): void {
    this.fail(error);
    this.#port.close();
  }

  #settle(reply: Reply): void {
    const pending = this.#take(reply.id);
    if ("error" in reply) pending?.reject(fromWire(reply.error));
    else pending?.resolve(reply.value);
  }

  #take(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    if (this.#pending.size === 0) this.#port.unref();
    return pending;
  }
}
