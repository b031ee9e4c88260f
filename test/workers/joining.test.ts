/** Threads that join and leave, or die without leaving; many guests; signals of programs. */
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { attachEngine, createEngine } from "../../dist/index.js";

const MIB = 2 ** 20;
const program = new URL("./programs/joining.mjs", import.meta.url);

/** Runs programs/joining.mjs in a worker of ours; resolves with its messages when it has exited. */
function worker(
  data: unknown,
  onMessage: (message: unknown) => void = () => {},
): Promise<unknown[]> {
  return new Promise((resolve, reject) => {
    const messages: unknown[] = [];
    const thread = new Worker(program, { workerData: data });
    thread.on("message", (message) => {
      messages.push(message);
      onMessage(message);
    });
    thread.on("error", reject);
    thread.on("exit", () => resolve(messages));
  });
}

describe("threads of the embedder", () => {
  it("join and leave more often than there are numbers", async () => {
    const engine = await createEngine({ workers: false, maxThreads: 3, memoryPerNode: MIB });
    for (let turn = 0; turn < 20; turn++) (await attachEngine(engine.handle)).close();
    const attached = [await attachEngine(engine.handle), await attachEngine(engine.handle)];
    expect(engine.stats().threads).toBe(3);
    await expect(attachEngine(engine.handle)).rejects.toMatchObject({ code: "PAGEFOLD_NO_ROOM" });
    for (const each of attached) each.close();
    expect(engine.stats().threads).toBe(1);
    expect(() => attached[0]?.guest(0)).toThrow(
      expect.objectContaining({ code: "PAGEFOLD_CLOSED" }),
    );
    await engine.close();
  });

  it("that die inside a section are disowned, and their guest is merged and written again", async () => {
    const engine = await createEngine({ memoryPerNode: MIB, ksm: { run: 1, pagesToScan: 0 } });
    const guest = engine.createGuest({ bytes: 8 * 4096 });
    guest.fill(0, 8 * 4096, 7);
    const [thread] = (await worker({
      handle: engine.handle,
      guest: guest.id,
      die: true,
    })) as number[];
    engine.disown(thread as number);
    const { pages_shared, pages_sharing } = await engine.ksm.scan(3);
    expect([pages_shared, pages_sharing]).toEqual([1, 7]);
    guest.write(0, new Uint8Array([1]));
    expect(engine.stats().stuckVcpu).toBeNull();
    expect((await engine.check()).problems).toEqual([]);
    await engine.close();
  });
});

describe("guests", () => {
  it("1,000 of them work with the defaults", async () => {
    const engine = await createEngine({ workers: false });
    for (let count = 0; count < 1000; count++) {
      engine.createGuest({ bytes: 4 * 4096 }).fill(0, 4096, 1 + (count % 2));
    }
    engine.ksm.set({ run: 1 });
    const { pages_sharing, pages_unshared } = await engine.ksm.scan(2);
    expect([pages_sharing, pages_unshared]).toEqual([996, 0]);
    await engine.close();
  });

  it("a value that is no number throws, and leaves no section open", async () => {
    const engine = await createEngine({ workers: false, ksm: { run: 1 } });
    const guest = engine.createGuest({ bytes: 4096 });
    const vcpu = guest.vcpu();
    const hostile = 5n as unknown as number;
    expect(() => vcpu.store32(0, hostile)).toThrow(TypeError);
    expect(() => vcpu.store32(2, hostile)).toThrow(TypeError);
    expect(() => vcpu.store8(0, hostile)).toThrow(TypeError);
    expect(() => vcpu.fill(0, 1, 256)).toThrow(
      expect.objectContaining({ code: "PAGEFOLD_BAD_OPTION" }),
    );
    expect(() => guest.write(0, [1] as unknown as Uint8Array)).toThrow(
      expect.objectContaining({ code: "PAGEFOLD_BAD_OPTION" }),
    );
    expect(engine.ksm.scanSync(1).full_scans).toBe(1);
    await engine.close();
  });
});

describe("options and programs", () => {
  it("what does not exist is refused by its name", async () => {
    const refused = expect.objectContaining({ code: "PAGEFOLD_BAD_OPTION" });
    await expect(createEngine({ nope: 1 } as object)).rejects.toEqual(refused);
    await expect(createEngine({ workers: "no" } as object)).rejects.toEqual(refused);
    const engine = await createEngine({ workers: false });
    expect(() => engine.createGuest({ bytes: 4096, foo: 1 } as never)).toThrow(refused);
    expect(() => engine.createGuest({ bytes: 4096, program: "./guest.mjs" })).toThrow(refused);
    await expect(engine.ksm.set({ nope: 1 } as object)).rejects.toMatchObject({ code: "EINVAL" });
    await engine.ksm.set({ pagesToScan: undefined as unknown as number });
    expect(engine.ksm.knobs.pagesToScan).toBe(100);
    await engine.close();
  });

  it.each([false, true])(
    "a program is told that its call was aborted (workers: %s)",
    async (workers) => {
      const engine = await createEngine({ workers, memoryPerNode: MIB });
      const guest = engine.createGuest({ bytes: 4096 });
      const abort = new AbortController();
      const running = guest.run(program, { untilAborted: true }, { signal: abort.signal });
      // The program has begun when it has written its page.
      while (guest.read(0, 1)[0] !== 1) await new Promise((resolve) => setImmediate(resolve));
      abort.abort(new Error("enough"));
      await expect(running).rejects.toThrow("enough");
      while (guest.read(1, 1)[0] !== 2) await new Promise((resolve) => setImmediate(resolve));
      await engine.close();
    },
  );

  it("a dozen calls on one signal make no noise", async () => {
    const warnings: string[] = [];
    const note = (warning: Error): void => void warnings.push(warning.message);
    process.on("warning", note);
    const abort = new AbortController();
    const engine = await createEngine({ memoryPerNode: MIB, ksm: { run: 1, pagesToScan: 0 } });
    engine.createGuest({ bytes: 4096 }).fill(0, 4096, 1);
    const calls = Array.from({ length: 12 }, () => engine.settled({ signal: abort.signal }));
    abort.abort(new Error("enough"));
    await Promise.all(calls.map((call) => expect(call).rejects.toThrow("enough")));
    await engine.close();
    await new Promise((resolve) => setImmediate(resolve));
    process.off("warning", note);
    expect(warnings).toEqual([]);
  });
});
