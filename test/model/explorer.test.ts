/** The explorer itself: it finds what it must find, and exhausts what is right. */
import { describe, expect, it } from "vitest";
import { explorer, type Scenario } from "./explorer.js";
import * as seam from "./seam.js";

const words = new Int32Array(new SharedArrayBuffer(64));

function scenario(threads: Record<string, () => void>, check: () => void): Scenario {
  return { threads, check };
}

function expectValue(index: number, value: number) {
  return () => {
    if (words[index] !== value) throw new Error(`word ${index} is ${words[index]}, not ${value}`);
  };
}

describe("explorer", () => {
  it("finds a lost update, with the shortest schedule", () => {
    const body = () => seam.storeWord(words, 0, seam.loadWord(words, 0) + 1);
    const report = explorer.explore(scenario({ a: body, b: body }, expectValue(0, 2)), {
      preemptions: 1,
    });
    expect(report.failure?.message).toBe("word 0 is 1, not 2");
    expect(report.failure?.trace).toHaveLength(4);
  });

  it("finds nothing in an atomic add, and says that it saw every interleaving", () => {
    const body = () => void seam.addWord(words, 0, 1);
    const report = explorer.explore(scenario({ a: body, b: body }, expectValue(0, 2)), {
      preemptions: 2,
    });
    expect(report.failure).toBeNull();
    expect(report.exhausted).toBe(true);
  });

  it("needs the preemptions that a bug needs", () => {
    const body = () => seam.storeWord(words, 0, seam.loadWord(words, 0) + 1);
    const none = explorer.explore(scenario({ a: body, b: body }, expectValue(0, 2)), {
      preemptions: 0,
    });
    expect(none.failure).toBeNull();
  });

  it("visits each interleaving of two threads of two steps once", () => {
    const seen = new Set<string>();
    let order = "";
    const body = (name: string) => () => {
      for (let step = 0; step < 2; step++) seam.addWord(words, 0, 1);
      return name;
    };
    const report = explorer.explore(
      {
        threads: { a: body("a"), b: body("b") },
        reset: () => {
          order = "";
        },
        observe: (step) => {
          order += step.thread;
        },
        check: () => {
          seen.add(order);
        },
      },
      { preemptions: 4 },
    );
    expect([...seen].sort()).toEqual(["aabb", "abab", "abba", "baab", "baba", "bbaa"]);
    expect(report.executions).toBe(6);
  });

  it("reports a lost wake-up as a deadlock, and none with the notify", () => {
    const run = (notify: boolean) =>
      explorer.explore(
        scenario(
          {
            sleeper: () => {
              while (seam.loadWord(words, 0) === 0) seam.waitWord(words, 0, 0, Infinity);
            },
            waker: () => {
              seam.storeWord(words, 0, 1);
              if (notify) seam.notifyWord(words, 0, 1);
            },
          },
          expectValue(0, 1),
        ),
        { preemptions: 2 },
      );
    expect(run(false).failure?.message).toBe("deadlock: sleeper asleep");
    expect(run(true).failure).toBeNull();
  });

  it("finds an ABA", () => {
    const report = explorer.explore(
      scenario(
        {
          slow: () => {
            const seen = seam.loadWord(words, 0);
            const companion = seam.loadWord(words, 1);
            if (seam.casWord(words, 0, seen, 7) === seen) seam.storeWord(words, 2, companion);
          },
          fast: () => {
            seam.storeWord(words, 0, 5);
            seam.storeWord(words, 1, 9);
            seam.storeWord(words, 0, 0);
          },
        },
        () => {
          if (words[0] === 7 && words[1] === 9 && words[2] === 0) throw new Error("ABA");
        },
      ),
      { preemptions: 2 },
    );
    expect(report.failure?.message).toBe("ABA");
  });

  it("forbids both threads of a store buffer shape to read zero", () => {
    const report = explorer.explore(
      scenario(
        {
          a: () => {
            seam.storeWord(words, 0, 1);
            seam.storeWord(words, 2, 1 + seam.loadWord(words, 1));
          },
          b: () => {
            seam.storeWord(words, 1, 1);
            seam.storeWord(words, 3, 1 + seam.loadWord(words, 0));
          },
        },
        () => {
          if (words[2] === 1 && words[3] === 1) throw new Error("both read zero");
        },
      ),
      { preemptions: 4 },
    );
    expect(report.failure).toBeNull();
    expect(report.exhausted).toBe(true);
  });

  it("finds the same with and without its reductions", () => {
    const increment = () => seam.storeWord(words, 0, seam.loadWord(words, 0) + 1);
    const careful = () => {
      for (;;) {
        const seen = seam.loadWord(words, 0);
        seam.plainStore(words, 5, seen);
        if (seam.casWord(words, 0, seen, seen + 1) === seen) return;
      }
    };
    for (const [body, failure] of [
      [increment, /^word 0 is [12], not 3$/],
      [careful, /^none$/],
    ] as const) {
      const threads = scenario({ a: body, b: body, c: body }, expectValue(0, 3));
      for (const reduce of [true, false]) {
        const report = explorer.explore(threads, { preemptions: 3, reduce });
        expect(report.failure?.message ?? "none").toMatch(failure);
      }
    }
  });

  it("does the same whether executions go on from where they part, or each begins anew", () => {
    const seen = new Set<string>();
    const body = (value: number) => () => {
      const before = seam.addWord(words, 0, value);
      while (before === 0 && seam.loadWord(words, 1) === 0) seam.waitWord(words, 1, 0, Infinity);
      seam.storeWord(words, 1, value);
      seam.notifyWord(words, 1, 1);
      seam.storeWord(words, 2 + (before & 1), value);
    };
    const threads = { a: body(1), b: body(2), c: body(4) };
    const explore = (more: Partial<Scenario>) => {
      seen.clear();
      const check = () => void seen.add([...words].join());
      const scenario = { threads, check, ...more };
      return { ...explorer.explore(scenario, { preemptions: 3, reduce: false }), seen: [...seen] };
    };
    const anew = explore({ reset: () => {} });
    expect(explore({})).toEqual(anew);
    expect(anew.exhausted).toBe(true);
    expect(anew.executions).toBeGreaterThan(100);
    expect(anew.seen.length).toBeGreaterThan(5);
  });

  it("replays a failure from its schedule", () => {
    const body = () => seam.storeWord(words, 0, seam.loadWord(words, 0) + 1);
    const lost = scenario({ a: body, b: body }, expectValue(0, 2));
    const found = explorer.explore(lost, { preemptions: 1 });
    const again = explorer.replay(lost, { preemptions: 1 }, found.failure?.schedule ?? []);
    expect(again).toEqual(found.failure);
  });

  it("stops a thread that never ends", () => {
    const report = explorer.explore(
      scenario(
        {
          spinner: () => {
            while (seam.loadWord(words, 0) === 0);
          },
        },
        () => {},
      ),
      { preemptions: 0, steps: 100 },
    );
    expect(report.failure?.message).toBe("livelock: too many steps");
  });
});
