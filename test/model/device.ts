/** device - a holder of pins that reads and writes the pinned frame in place; the ghosts follow it. */
import type { Memory } from "../../src/base/memory.js";
import { explorer } from "./explorer.js";
import type { TinyMachine } from "./machine.js";

export class Device {
  constructor(
    private readonly machine: TinyMachine,
    private readonly memory: Memory,
    private readonly guest: number,
  ) {}

  /** The frame, or NONE. */
  pin(gfn: number): number {
    const { fault, pin } = this.machine.production;
    const slot = this.machine.slot(this.guest, gfn);
    return pin.pinPage(this.memory, slot, { outcome: fault.FAULT_RETRY });
  }

  unpin(gfn: number, pfn: number): void {
    const slot = this.machine.slot(this.guest, gfn);
    this.machine.production.pin.unpinPage(this.memory, slot, pfn);
  }

  store(pfn: number, gfn: number, cell: number, value: number): void {
    const at = this.machine.cell(pfn, cell);
    explorer.operation("deviceStore", at.words, at.index, true, () => {
      explorer.write(at.words, at.index, value);
      this.machine.wrote(this.guest, gfn, cell, value);
      return value;
    });
  }

  load(pfn: number, gfn: number, cell: number): void {
    const at = this.machine.cell(pfn, cell);
    explorer.operation("deviceLoad", at.words, at.index, true, () => {
      const value = at.words[at.index] as number;
      const expected = this.machine.lastWritten(this.guest, gfn, cell);
      if (value === expected) return value;
      throw new Error(`PIN-1: the pin reads ${value}, last written ${expected}`);
    });
  }
}
