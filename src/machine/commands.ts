/**
 * commands - what ksmd is asked to do between batches, by message or, without workers, by call.
 */
import { PagefoldError } from "../base/errors.js";
import type { Gfn, GuestId } from "../base/units.js";
import { setKnobs, unmergeError } from "../ksm/control.js";
import { forgetBlock } from "../ksm/hot-remove.js";
import type { Knobs } from "../ksm/knobs.js";
import { makeMergeable, makeUnmergeable } from "../ksm/lifecycle.js";
import type { Shard } from "../ksm/shard.js";
import { UNMERGED } from "../ksm/unmerge.js";
import { checkMachine } from "./check.js";
import { reportMachine } from "./report.js";

/** Executed at once, between two batches. */
export type Command =
  | { readonly kind: "set"; readonly knobs: Partial<Knobs> }
  | { readonly kind: "mergeable"; readonly guest: GuestId; readonly from: Gfn; readonly to: Gfn }
  | { readonly kind: "unmergeable"; readonly guest: GuestId; readonly from: Gfn; readonly to: Gfn }
  | { readonly kind: "forgetBlocks"; readonly blocks: readonly number[] }
  | { readonly kind: "check" }
  | { readonly kind: "report" }
  | { readonly kind: "events"; readonly on: boolean };

/** Answered at the end of some pass. */
export type Request =
  | { readonly kind: "scan"; readonly passes: number }
  | { readonly kind: "settled"; readonly ignoreVolatile: boolean };

export function executeCommand(shard: Shard, command: Command): unknown {
  switch (command.kind) {
    case "set":
      return setKnobs(shard, command.knobs);
    case "mergeable":
      return makeMergeable(shard, command.guest, command.from, command.to);
    case "unmergeable": {
      const outcome = makeUnmergeable(shard, command.guest, command.from, command.to);
      if (outcome !== UNMERGED) throw unmergeError(outcome);
      return undefined;
    }
    case "forgetBlocks":
      for (const number of command.blocks) forgetBlock(shard, number);
      return undefined;
    case "check":
      return checkMachine(shard);
    case "report":
      return reportMachine(shard);
    case "events":
      return undefined;
  }
}

/** Why a scan, or waiting for merging to settle, is refused while ksmd is stopped. */
export function notRunning(): PagefoldError {
  return new PagefoldError(
    "PAGEFOLD_NOT_RUNNING",
    "ksmd is stopped; set run to 1 first: await engine.ksm.set({ run: 1 })",
  );
}

/** An error on its way between threads; messages keep no class and no code. */
export interface WireError {
  readonly name: string;
  readonly code?: string;
  readonly message: string;
  readonly details?: Record<string, unknown>;
  readonly stack?: string;
}

export function toWire(error: unknown): WireError {
  if (error instanceof PagefoldError) {
    const { name, code, message, details, stack } = error;
    return {
      name,
      code,
      message,
      details: { ...details },
      ...(stack === undefined ? {} : { stack }),
    };
  }
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  return { name, message, ...(stack === undefined ? {} : { stack }) };
}

export function fromWire(wire: WireError): Error {
  if (wire.code !== undefined) {
    return new PagefoldError(wire.code as PagefoldError["code"], wire.message, wire.details);
  }
  const error = new Error(wire.message);
  error.name = wire.name;
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}
