/** Question: do lockers exclude each other, and does every sleeper wake? Two and three threads, one frame. */
import { describe, it } from "vitest";
import type { Scenario } from "./explorer.js";
import { explorer } from "./explorer.js";
import { loadProduction, type Production } from "./loader.js";
import { expectKilled, expectSafe, TinyMachine } from "./machine.js";

function lockers(production: Production, count: number, rounds = 1): Scenario {
  const machine = new TinyMachine(production);
  let inside = 0;
  let done = 0;
  const locker = (id: number) => () => {
    const memory = machine.view(id);
    for (let round = 0; round < rounds; round++) {
      production.pageLock.lockPage(memory, 0);
      ghost(() => {
        if (++inside > 1) throw new Error("LOCK-1: two inside");
      });
      ghost(() => inside--);
      production.pageLock.unlockPage(memory, 0);
    }
    ghost(() => done++);
  };
  return {
    threads: Object.fromEntries(
      Array.from({ length: count }, (_, id) => [`locker${id}`, locker(id)]),
    ),
    reset: () => {
      inside = 0;
      done = 0;
    },
    check: () => {
      if (done !== count) throw new Error(`LOCK-1: ${done} of ${count} done`);
      machine.checkCounts();
    },
    nameWord: (words, index) => machine.nameWord(words, index),
  };
}

const nowhere = new Int32Array(1);
/** A step on ghost state, of its own: done once however often its thread is resumed. */
function ghost(action: () => void): void {
  explorer.operation("ghost", nowhere, 0, true, () => {
    action();
    return 0;
  });
}

describe("page-lock", () => {
  it("excludes two threads, two rounds, in every interleaving of 3 preemptions", async () => {
    expectSafe(lockers(await loadProduction(), 2, 2), { preemptions: 3 });
  });

  it("excludes three threads in every interleaving of 2 preemptions", async () => {
    expectSafe(lockers(await loadProduction(), 3), { preemptions: 2 });
  });

  it("must fail: unlock that wakes nobody", async () => {
    const mutant = await loadProduction({
      file: "mm/page-lock",
      find: "  notifyWord(words, index, 1);",
      replace: "",
    });
    expectKilled(lockers(mutant, 2), { preemptions: 2 }, /deadlock/);
  });

  it("must fail: a woken locker takes the lock as HELD, and the next sleeper is forgotten (LOCK-2)", async () => {
    const mutant = await loadProduction({
      file: "mm/page-lock",
      find: "LOCK_FREE, owned(memory, LOCK_WAITERS)",
      replace: "LOCK_FREE, owned(memory, LOCK_HELD)",
    });
    expectKilled(lockers(mutant, 3), { preemptions: 2 }, /deadlock/);
  });

  it("must fail: trylock that stores without looking", async () => {
    const mutant = await loadProduction({
      file: "mm/page-lock",
      find: "return casWord(words, index, LOCK_FREE, owned(memory, LOCK_HELD)) === LOCK_FREE;",
      replace:
        "const free = loadWord(words, index) === LOCK_FREE; if (free) exchangeWord(words, index, owned(memory, LOCK_HELD)); return free;",
    });
    expectKilled(lockers(mutant, 2), { preemptions: 2 }, /LOCK-1/);
  });
});
