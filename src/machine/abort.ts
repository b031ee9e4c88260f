/**
 * abort - one listener a signal, however many calls wait on it: Node warns on stderr about the eleventh, and
 * the library prints nothing.
 */

interface Waiting {
  readonly actions: Set<() => void>;
  readonly tell: () => void;
}

const waiting = new WeakMap<AbortSignal, Waiting>();

/** Calls `action` once when the signal aborts; returns how to take that back. */
export function onAbort(signal: AbortSignal | undefined, action: () => void): () => void {
  if (signal === undefined) return () => {};
  const { actions, tell } = waiting.get(signal) ?? listen(signal);
  actions.add(action);
  return () => {
    actions.delete(action);
    if (actions.size > 0) return;
    signal.removeEventListener("abort", tell);
    waiting.delete(signal);
  };
}

function listen(signal: AbortSignal): Waiting {
  const actions = new Set<() => void>();
  const tell = (): void => {
    for (const action of [...actions]) action();
  };
  const entry = { actions, tell };
  waiting.set(signal, entry);
  signal.addEventListener("abort", tell, { once: true });
  return entry;
}

/** What `work` comes to; if the signal aborts first, rejects with its reason, and the work goes on unseen. */
export function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => reject(signal?.reason));
    work.then(resolve, reject).finally(forget);
  });
}
