/**
 * stress - the guest program of a vCPU of `pagefold stress`: a slice of operations, then others have their turn.
 */
import { setImmediate } from "node:timers/promises";
import type { GuestProgram } from "../../index.js";
import { Actor, type ActorSpec } from "../stress/actor.js";
import { Contents } from "../stress/contents.js";
import { Ledger } from "../stress/ledger.js";
import { Station } from "../stress/station.js";

export interface StressArgs {
  /** What tells this run from others of the process. */
  readonly run: string;
  readonly actor: ActorSpec;
  /** What is written depends on it. */
  readonly seed: number;
  readonly patterns: number;
  /** Of the guest's ledger. */
  readonly ledger: Int32Array;
}

/** Operations between two turns of others. */
const SLICE = 64;

const stress: GuestProgram = async (vcpu, { args, signal }): Promise<void> => {
  const { run, actor: spec, seed, patterns, ledger } = args as StressArgs;
  const actor = new Actor(vcpu, spec, new Contents(seed, patterns), new Ledger(ledger));
  const station = Station.join(run, actor);
  // Deaf to orders, when the engine closes before the end.
  const aborted = new Promise<"stop">((resolve) => {
    signal.addEventListener("abort", () => resolve("stop"), { once: true });
  });
  let isBroken = false;
  try {
    for (;;) {
      const next =
        isBroken || station.wantsPause ? await Promise.race([station.pause(), aborted]) : "go";
      if (next === "stop" || signal.aborted) return;
      const wrong = isBroken ? null : next === "sweep" ? actor.sweep() : actor.work(SLICE);
      if (wrong !== null) {
        isBroken = true;
        station.report(actor, wrong);
      }
      await setImmediate();
    }
  } finally {
    station.leave(actor);
  }
};

export default stress;
