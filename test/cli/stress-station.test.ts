/**
 * The vCPUs of a stress on one thread: what they did is told with those that have ended.
 */
import { describe, expect, it } from "vitest";
import type { Actor } from "../../dist/cli/stress/actor.js";
import { Latencies } from "../../dist/cli/stress/latency.js";
import { type News, openCommandLine } from "../../dist/cli/stress/messages.js";
import { Station } from "../../dist/cli/stress/station.js";

function actorOf(writes: number, ms: number): Actor {
  const latencies = new Latencies();
  latencies.add(ms);
  return { operations: { writes, reads: writes, pins: 1 }, latencies } as unknown as Actor;
}

/** The totals that the next news has, after `act`. */
async function totalsAfter(run: string, act: (order: (number: number) => void) => void) {
  const line = openCommandLine(run);
  const heard = new Promise<News>((resolve) => line.onMessage(resolve));
  act((number) => line.post({ order: "tell", number }));
  const news = await heard;
  line.close();
  if (!("totals" in news)) throw new Error("news of something else");
  const { writes, reads, pins, idle, latencies } = news.totals;
  const sums = new Latencies();
  sums.addAll(latencies);
  return {
    done: news.done,
    vcpus: news.vcpus,
    writes,
    reads,
    pins,
    idle,
    max: sums.summary()?.max,
  };
}

describe("the vCPUs of a thread", () => {
  it("keep what those did that have ended, and tell it when the last one ends", async () => {
    const [first, second] = [actorOf(5, 3), actorOf(7, 2)];
    const station = Station.join("run", first);
    expect(Station.join("run", second)).toBe(station);
    const both = { writes: 12, reads: 12, pins: 2, idle: 0, max: 3 };
    expect(await totalsAfter("run", (tell) => tell(1))).toEqual({ done: 1, vcpus: 2, ...both });
    station.leave(first);
    expect(await totalsAfter("run", (tell) => tell(2))).toEqual({ done: 2, vcpus: 1, ...both });
    const last = await totalsAfter("run", () => station.leave(second));
    expect(last).toEqual({ done: 0, vcpus: 0, ...both });
  });
});
