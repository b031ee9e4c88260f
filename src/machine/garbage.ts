/**
 * garbage - running a major collection in the calling thread.
 *
 * A WebAssembly memory goes back to the system when every thread that had it has dropped it and has then collected
 * its old generation, which a thread that allocates little does not do by itself.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let collect: (() => void) | null = null;

/** Collects what this thread has dropped; takes milliseconds. */
export function collectGarbage(): void {
  if (collect === null) {
    setFlagsFromString("--expose-gc");
    collect = runInNewContext("gc") as () => void;
  }
  collect();
  // What the first has found is freed in the background; the second waits for that.
  collect();
}
