/** writing - threads that write cells of guests while an engine is at work, and reading all of it again. */
import { expect } from "vitest";
import type { Engine, EngineGuest } from "../../dist/index.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";
// @ts-expect-error: plain JavaScript, because the writers run it in threads of their own
import * as cells from "./programs/cells.mjs";

export const PAGE: number = cells.PAGE;

export interface Written {
  readonly versions: Uint32Array;
  readonly verified: number;
  readonly turns: number;
}

export interface Writing {
  /** For each thread its guest: two of them, or twice the same. */
  readonly guests: readonly [number, number];
  /** Pages of each guest. */
  readonly pages: number;
  /** Pages of which each thread writes a half, where both are in one guest. */
  readonly shared: number;
  /** Merges, and copies of merged pages, after which they end. */
  readonly enough: number;
}

/**
 * What `work` resolves to, unless the engine crashes, or a minute passes, ten times what it takes: then it says what
 * the engine says of itself.
 */
export async function unlessStalled<T>(engine: Engine, work: Promise<T>): Promise<T> {
  const end = new AbortController();
  const { signal } = end;
  const failed = new Promise<never>((_, reject) => {
    const timer = setTimeout(() => {
      reject(new Error(`no end in sight: ${JSON.stringify(engine.stats())}`));
    }, 60_000);
    engine.once("crash", reject);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      engine.off("crash", reject);
    });
  });
  try {
    return await Promise.race([work, failed]);
  } finally {
    end.abort();
  }
}

/** Two threads write until there were enough merges and copies; what each wrote last. */
export async function write(engine: Engine, writing: Writing): Promise<Written[]> {
  const { guests, ...data } = writing;
  const alone = guests[0] !== guests[1];
  const workers = guests.map((guest, thread) =>
    startWorker("writer", {
      ...{ handle: engine.handle, guest, ...data },
      ...(alone ? { thread: 0, threads: 1 } : { thread, threads: 2 }),
    }),
  );
  const messages = Promise.all(workers.map((worker) => nextMessage<Written>(worker)));
  const written = await unlessStalled(engine, messages);
  await Promise.all(workers.map(ended));
  return written;
}

/** Reads every cell again, through this thread's vCPU. */
export function verifyAll(
  guests: readonly EngineGuest[],
  writing: Writing,
  written: readonly Written[],
): void {
  const threads = guests.length === 1 ? 2 : 1;
  written.forEach(({ versions }, n) => {
    const guest = guests[threads === 2 ? 0 : n] as EngineGuest;
    const thread = threads === 2 ? n : 0;
    const all = cells.cellsOf(thread, threads, writing.pages, writing.shared);
    let wrong = 0;
    all.forEach((cell: { gfn: number; from: number; length: number }, at: number) => {
      const found = guest.read(cell.gfn * cells.PAGE + cell.from, cell.length);
      const expected: Uint8Array = cells.bytesOf(guest.id, cell, versions[at]);
      if (Buffer.compare(found, expected) !== 0) wrong++;
    });
    expect(wrong, `wrong cells of thread ${n} of guest ${guest.id}`).toBe(0);
  });
}
