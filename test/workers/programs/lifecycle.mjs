/**
 * A process of its own: uses an engine in the way that its argument says, closes it, and has nothing more to
 * do. It must end by itself. Prints one line: what it saw.
 */
import { createEngine } from "../../../dist/index.js";

const ACTS = new URL("./acts.mjs", import.meta.url);
const PAGE = 4096;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "exit", "uncaughtException", "unhandledRejection"];
const listeners = () => SIGNALS.map((name) => process.listenerCount(name));

/** The code or the name that each call is rejected with. */
const rejections = async (calls) =>
  (await Promise.allSettled(calls)).map(({ reason }) => reason?.code ?? reason?.name ?? null);

const base = { memoryPerNode: 2 ** 20, nodes: 2, ksm: { run: 1, sleepMillisecs: 0 } };

const ways = {
  async used() {
    const engine = await createEngine(base);
    const guest = engine.createGuest({
      bytes: 64 * PAGE,
      program: ACTS,
      args: { act: "work", first: 1 },
    });
    await guest.finished;
    guest.fill(0, guest.bytes, 1);
    await engine.settled();
    await engine.close();
    await engine.close();
    return { shared: engine.stats().counters.pages_shared };
  },
  async pending() {
    const engine = await createEngine(base);
    const guest = engine.createGuest({ bytes: PAGE });
    await engine.ksm.set({ pagesToScan: 0 });
    const calls = [engine.settled(), guest.run(ACTS, { act: "wait" }), engine.ksm.scan(1e9)];
    const rejected = rejections(calls);
    await engine.close();
    const later = [engine.ksm.scan(1), engine.check(), guest.run(ACTS, { act: "wait" })];
    return { rejected: [...(await rejected), ...(await rejections(later))] };
  },
  async withoutWorkers() {
    const engine = await createEngine({ ...base, workers: false });
    const guest = engine.createGuest({ bytes: PAGE });
    await guest.run(ACTS, { act: "later" });
    const calls = rejections([guest.run(ACTS, { act: "wait" })]);
    await engine.close();
    const later = [engine.settled(), engine.ksm.scan(1)];
    return { rejected: [...(await calls), ...(await rejections(later))] };
  },
  async spinning() {
    const engine = await createEngine(base);
    const guest = engine.createGuest({ bytes: PAGE });
    const flag = new Int32Array(new SharedArrayBuffer(4));
    const rejected = rejections([guest.run(ACTS, { act: "spin", flag })]);
    await Atomics.waitAsync(flag, 0, 0).value;
    const started = performance.now();
    await engine.close();
    return { rejected: await rejected, seconds: (performance.now() - started) / 1000 };
  },
  async policies() {
    const engine = await createEngine({ ...base, migrators: 2, policies: ["chaos", "follow"] });
    engine.createGuest({ bytes: 64 * PAGE }).fill(0, 64 * PAGE, 1);
    while (engine.stats().migrations.succeeded === 0) await new Promise(setImmediate);
    const rejected = rejections([engine.setPolicies(["balance"])]);
    await engine.close();
    return { rejected: [...(await rejected), ...(await rejections([engine.setPolicies([])]))] };
  },
  async crashed() {
    const engine = await createEngine(base);
    const guest = engine.createGuest({ bytes: PAGE });
    const calls = [guest.run(ACTS, { act: "exit" }), engine.ksm.scan(1e9)];
    const rejected = await rejections(calls);
    await engine.close();
    return { rejected };
  },
  async notClonable() {
    const engine = await createEngine(base);
    const guest = engine.createGuest({ bytes: PAGE });
    const before = process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
    const rejected = await rejections([guest.run(ACTS, () => {})]);
    const after = process.getActiveResourcesInfo().filter((name) => name === "MessagePort").length;
    await engine.close();
    return { rejected, ports: after - before };
  },
  async abortedStart() {
    const abort = new AbortController();
    const call = createEngine({ ...base, signal: abort.signal });
    abort.abort();
    return { rejected: await rejections([call]) };
  },
  async disposed() {
    let closed = 0;
    const engine = await createEngine(base);
    engine.on("close", () => closed++);
    engine.createGuest({ bytes: PAGE }).fill(0, PAGE, 1);
    // What `await using` does at the end of its block.
    await engine[Symbol.asyncDispose]();
    return { closed };
  },
};

const before = listeners();
const seen = await ways[process.argv[2]]();
const handlers = listeners().map((count, at) => count - before[at]);
// Ports of a worker that was ended by force close some turns later; then nothing is left to wait for.
process.once("beforeExit", () => {
  const resources = process.getActiveResourcesInfo();
  process.stdout.write(`${JSON.stringify({ seen, resources, handlers })}\n`);
});
