/**
 * interrupt - signals that end a run: the first asks it to say what is known, the second ends it at once.
 */
const STATUS = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** The exit status that the first signal asks for. */
  status(): number;
  /** From here on signals do what they do by themselves. */
  dispose(): void;
}

export function listenForSignals(): Interrupt {
  const controller = new AbortController();
  let status = 0;
  const handlers = Object.entries(STATUS).map(([name, code]) => {
    const handler = (): void => {
      if (controller.signal.aborted) process.exit(status);
      status = code;
      controller.abort(new Error(`interrupted by ${name}`));
    };
    process.on(name, handler);
    return { name, handler };
  });
  return {
    signal: controller.signal,
    status: () => status,
    dispose: () => {
      for (const { name, handler } of handlers) process.off(name, handler);
    },
  };
}
