/**
 * hart - one CPU of examples/rv32i over a guest of three pages, for a few instructions at a time.
 */
import type { EngineGuest, Vcpu } from "../../dist/index.js";
// @ts-expect-error: plain JavaScript, because guests run it
import { Cpu } from "../../examples/rv32i/cpu.mjs";

export const BYTES = 3 * 4096;
/** Where instructions lie, unless a test says otherwise: in the middle, so that branches reach both ways. */
export const CODE = 0x1000;
/** A page for data. */
export const DATA = 0x2000;

export interface Trap {
  readonly cause: string;
  readonly pc: number;
  readonly value: number;
}

export interface Start {
  readonly code: readonly number[];
  readonly pc?: number;
  /** Registers by number; the others are 0. */
  readonly x?: Readonly<Record<number, number>>;
  /** Bytes at DATA. */
  readonly data?: readonly number[];
  /** Instructions at most; as many as `code` has unless given. */
  readonly steps?: number;
}

export interface Stop {
  readonly pc: number;
  readonly x: readonly number[];
  readonly trap: Trap | null;
  readonly retired: number;
}

/** Executes `code` in the guest, cleared before. */
export function execute(guest: EngineGuest, vcpu: Vcpu, start: Start): Stop {
  const { code, pc = CODE, data = [] } = start;
  guest.fill(0, BYTES, 0);
  guest.write(pc, new Uint8Array(Uint32Array.from(code).buffer));
  guest.write(DATA, Uint8Array.from(data));
  const x = new Array<number>(32).fill(0);
  for (const [number, value] of Object.entries(start.x ?? {})) x[Number(number)] = value;
  const cpu = new Cpu(vcpu, guest.bytes, { pc, x });
  const trap = vcpu.run(() => cpu.run(start.steps ?? code.length)) as Trap | null;
  return { ...(cpu.state as { pc: number; x: number[] }), trap, retired: cpu.retired as number };
}
