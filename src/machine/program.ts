/**
 * program - guest programs: modules whose default export runs with a vCPU of a guest.
 */
import { PagefoldError } from "../base/errors.js";
import type { Memory } from "../base/memory.js";
import type { GuestId, Nid } from "../base/units.js";
import { PAGE_SIZE } from "../base/units.js";
import { guestNode, guestPages } from "../mm/guest.js";
import { openVcpu } from "../mm/vcpu.js";
import { Vcpu } from "./vcpu.js";

/** What a guest program is told beside its vCPU. */
export interface ProgramContext {
  /** Number of the guest. */
  readonly guest: GuestId;
  /** The guest's node. */
  readonly node: Nid;
  /** Bytes of the guest: a whole number of pages. */
  readonly bytes: number;
  /** Whatever `args` the caller gave; structured-cloned where the engine has workers. */
  readonly args: unknown;
  /** Aborted when the caller gives the call up, or the engine closes: the program should end. */
  readonly signal: AbortSignal;
}

/**
 * The default export of a guest program's module. It runs on the guest's node (without workers: in the caller's
 * thread); what it returns, or its promise resolves to, is structured-cloned back. Programs of one node share its
 * thread: one that never awaits holds it. The vCPU is closed when the program ends.
 */
export type GuestProgram = (vcpu: Vcpu, context: ProgramContext) => unknown;

/** A relative path would be looked for beside pagefold's own files. */
export function checkProgram(program: URL | string): void {
  if (program instanceof URL || (typeof program === "string" && URL.canParse(program))) return;
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    `program must be a URL, such as new URL("./guest.js", import.meta.url), not ${program}`,
    { option: "program", value: program },
  );
}

/** Runs the module at `url` on this thread with a vCPU of the guest. */
export async function runProgram(
  memory: Memory,
  guest: GuestId,
  url: string,
  args: unknown,
  signal: AbortSignal,
): Promise<unknown> {
  const loaded = (await import(url)) as { default?: unknown };
  if (typeof loaded.default !== "function") {
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `program ${url} has no function as default export`,
      {
        program: url,
      },
    );
  }
  const vcpu = new Vcpu(memory, openVcpu(memory, guest));
  const context: ProgramContext = {
    guest,
    node: guestNode(memory, guest),
    bytes: guestPages(memory, guest) * PAGE_SIZE,
    args,
    signal,
  };
  try {
    return await (loaded.default as GuestProgram)(vcpu, context);
  } finally {
    vcpu.close();
  }
}
