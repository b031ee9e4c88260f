/**
 * progress-channel - how far guest programs have come, told across the threads of this process.
 */
import { BroadcastChannel } from "node:worker_threads";

const NAME = "pagefold.run";

/** The end of a program: tells pages that are done. Close it. */
export function openTeller(): { tell(pages: number): void; close(): void } {
  const channel = new BroadcastChannel(NAME);
  return { tell: (pages) => channel.postMessage(pages), close: () => channel.close() };
}

/** The end of the command: adds them up. Close it. */
export function openSum(): { pages(): number; close(): void } {
  const channel = new BroadcastChannel(NAME);
  let sum = 0;
  channel.onmessage = (event) => {
    sum += (event as { readonly data: number }).data;
  };
  return { pages: () => sum, close: () => channel.close() };
}
