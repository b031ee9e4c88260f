/** Guest programs, and threads that join from outside. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { attachEngine, createEngine, type Engine } from "../../dist/index.js";
import { ended, nextMessage, startWorker } from "./own-worker.js";

const PAGE = 4096;
const ACTS = new URL("./programs/acts.mjs", import.meta.url);
const NO_FUNCTION = new URL("./programs/no-function.mjs", import.meta.url);

describe.each([true, false])("guest programs (workers: %s)", (workers) => {
  let engine: Engine;
  beforeAll(async () => {
    engine = await createEngine({ workers, nodes: 2, memoryPerNode: 2 ** 20, maxVcpus: 8 });
  });
  afterAll(() => engine.close());

  it("get a vCPU of their guest and say where they ran", async () => {
    const args = { act: "work", first: 100 };
    const guest = engine.createGuest({ bytes: 4 * PAGE, node: 1, program: ACTS, args });
    expect(await guest.finished).toEqual({
      ...{ guest: guest.id, node: 1, bytes: 4 * PAGE, args, vcpu: expect.any(Number) },
      sum: 4 * 100 + 6 * PAGE,
    });
    // What it wrote is in the guest, and in frames of the guest's node.
    expect(new Int32Array(guest.read(2 * PAGE, 4).buffer)[0]).toBe(100 + 2 * PAGE);
    expect(guest.read(PAGE - 1, 1)[0]).toBe(7);
    expect(engine.stats().nodes.map(({ used }) => used)).toEqual([0, 4]);
  });

  it("run as often as one likes, and give their vCPU back", async () => {
    const guest = engine.createGuest({ bytes: PAGE });
    expect(await guest.finished).toBeUndefined();
    guest.fill(0, PAGE, 9);
    const run = (): Promise<unknown> => guest.run(ACTS, { act: "later" });
    for (let call = 0; call < 20; call++) expect(await run()).toBe(9);
    expect(await Promise.all([run(), run(), run()])).toEqual([9, 9, 9]);
    expect(engine.stats().vcpus).toBeLessThan(8);
  });

  it("may fail: the error comes back as it was", async () => {
    const guest = engine.createGuest({ bytes: PAGE });
    const run = (act: string): Promise<unknown> => guest.run(String(ACTS), { act });
    const own = { name: "TypeError", message: "the program's own error" };
    await expect(run("throw")).rejects.toThrow(expect.objectContaining(own));
    await expect(run("reject")).rejects.toThrow(
      expect.objectContaining({ name: "RangeError", message: "later" }),
    );
    const details = { guest: guest.id, address: PAGE, length: 1, bytes: PAGE };
    const bad = { name: "PagefoldError", code: "PAGEFOLD_BAD_ADDRESS", details };
    await expect(run("badAddress")).rejects.toThrow(expect.objectContaining(bad));
    const inSection = { code: "PAGEFOLD_IN_SECTION" };
    await expect(run("promiseInSection")).rejects.toThrow(expect.objectContaining(inSection));
    expect(await run("later")).toBe(0);
  });

  it("must be modules with a function", async () => {
    const guest = engine.createGuest({ bytes: PAGE, program: NO_FUNCTION });
    const code = "PAGEFOLD_BAD_OPTION";
    await expect(guest.finished).rejects.toThrow(expect.objectContaining({ code }));
    await expect(guest.run(NO_FUNCTION)).rejects.toThrow(/no-function.mjs has no function/);
    const missing = new URL("./programs/missing.mjs", import.meta.url);
    await expect(guest.run(missing)).rejects.toThrow(/missing\.mjs/);
    await expect(guest.run("not a module")).rejects.toThrow();
  });

  // In one thread nothing is cloned.
  if (workers) {
    it("cannot return what cannot be cloned, and cannot be given it", async () => {
      const guest = engine.createGuest({ bytes: PAGE });
      const cannot = /could not be cloned/;
      await expect(guest.run(ACTS, { act: "uncloneable" })).rejects.toThrow(cannot);
      await expect(guest.run(ACTS, () => {})).rejects.toThrow(cannot);
      // A call that was never sent is not pending: closing still finds nobody waiting.
      expect(await guest.run(ACTS, { act: "later" })).toBe(0);
    });
  }
});

describe("threads that join", () => {
  it("from a worker of the embedder's own, and leave again", async () => {
    await using engine = await createEngine({ nodes: 1, memoryPerNode: 2 ** 20 });
    const guest = engine.createGuest({ bytes: 4 * PAGE });
    guest.fill(0, PAGE, 5);
    const start = { handle: engine.handle, guest: guest.id };
    for (const byte of [11, 12]) {
      const worker = startWorker("attach", { ...start, byte });
      const { thread, bytes, before, frames } = await nextMessage<Record<string, unknown>>(worker);
      expect({ bytes, before, used: (frames as { used: number }).used }).toEqual({
        ...{ bytes: 4 * PAGE, used: 4 },
        before: new Uint8Array(4).fill(byte === 11 ? 5 : 11),
      });
      // Main, ksmd and the node are 0 to 2; the second has the number that the first gave back.
      expect(thread).toBe(3);
      await ended(worker);
      expect(guest.read(4 * PAGE - 1, 1)[0]).toBe(byte);
    }
    // The second took the vCPU that the first gave back.
    expect(engine.stats().vcpus).toBe(2);
  });

  it("from this thread too; there is no guest that was not created", async () => {
    await using engine = await createEngine({ nodes: 1, workers: false, memoryPerNode: 2 ** 20 });
    const guest = engine.createGuest({ bytes: PAGE });
    const joined = await attachEngine(engine.handle);
    joined.guest(guest.id).write(1, Uint8Array.of(3));
    expect(guest.read(0, 3)).toEqual(Uint8Array.of(0, 3, 0));
    for (const id of [1, -1, 0.5, 1024, 2 ** 31]) {
      expect(() => joined.guest(id)).toThrow(
        expect.objectContaining({ code: "PAGEFOLD_BAD_OPTION" }),
      );
    }
    joined.close();
  });

  it("are refused when there are too many, with the number", async () => {
    await using engine = await createEngine({ nodes: 1, memoryPerNode: 2 ** 20, maxThreads: 4 });
    const { id } = engine.createGuest({ bytes: PAGE });
    const start = { handle: engine.handle, guest: id, byte: 1 };
    const held = await attachEngine(engine.handle);
    expect(held.thread).toBe(3);
    for (let attempt = 0; attempt < 2; attempt++) {
      const worker = startWorker("attach", start);
      const error = { code: "PAGEFOLD_NO_ROOM", details: { threads: 4 } };
      expect(await nextMessage(worker)).toMatchObject({ error });
      await ended(worker);
    }
    expect(engine.stats().threads).toBe(4);
    held.close();
    const worker = startWorker("attach", start);
    expect(await nextMessage(worker)).toMatchObject({ thread: 3, bytes: PAGE });
    await ended(worker);
  });
});
