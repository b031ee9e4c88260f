/**
 * pin - the public pin: a guest's bytes in place, held where they are.
 */
import { PagefoldError } from "../base/errors.js";
import { frameView } from "../base/memory.js";
import { type Gfn, PAGE_SIZE, type Pfn } from "../base/units.js";
import type { Tlb } from "../mm/tlb.js";
import { checkRange, pin, unpin } from "../mm/vcpu.js";

/** One page of a pin: its part of the bytes, in place, shared with every thread. */
export interface PinnedPage {
  /** Address in the guest of the first of the bytes. */
  readonly address: number;
  /** The bytes themselves, not a copy; not to be used after `release`. */
  readonly bytes: Uint8Array;
}

/**
 * Bytes of a guest held in their frames: reads and writes through `pages` are the guest's own, and no
 * merge or move takes the pages away until `release`.
 */
export class Pin {
  /** One for each page that the bytes touch, in order of address. */
  readonly pages: readonly PinnedPage[];
  readonly #tlb: Tlb;
  readonly #frames: { gfn: Gfn; pfn: Pfn }[] = [];

  /** @internal */
  constructor(tlb: Tlb, address: number, length: number) {
    checkRange(tlb, address, length);
    if (length === 0) {
      throw new PagefoldError("PAGEFOLD_BAD_ADDRESS", "a pin needs at least one byte", { address });
    }
    this.#tlb = tlb;
    const pages: PinnedPage[] = [];
    for (let at = address; at < address + length; ) {
      const gfn = Math.floor(at / PAGE_SIZE);
      const end = Math.min((gfn + 1) * PAGE_SIZE, address + length);
      const pfn = this.#hold(gfn);
      const from = at % PAGE_SIZE;
      pages.push({
        address: at,
        bytes: frameView(tlb.memory, pfn).subarray(from, from + end - at),
      });
      at = end;
    }
    this.pages = pages;
  }

  /** Pins one page; if there is no frame for it, those pinned so far are released. */
  #hold(gfn: Gfn): Pfn {
    try {
      const pfn = pin(this.#tlb, gfn);
      this.#frames.push({ gfn, pfn });
      return pfn;
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** Ends the pin; the views must not be used afterwards. Releasing twice is fine. */
  release(): void {
    for (const { gfn, pfn } of this.#frames.splice(0)) unpin(this.#tlb, gfn, pfn);
  }
}
