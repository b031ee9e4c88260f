/**
 * tiny-ksmd - what of ksmd the protocols of mm meet: harvest, hash, merge of one page, on production functions.
 * The shipped one is src/ksm; its model tests are test/model/merge.test.ts.
 */
import type { Memory } from "../../src/base/memory.js";
import { ghost, type TinyMachine } from "./machine.js";

export class TinyKsmd {
  constructor(
    private readonly machine: TinyMachine,
    private readonly memory: Memory,
  ) {}

  /** Clears D and shoots the guest down; given up: sets D again. True: the page is quiet. */
  harvest(guest: number, gfn: number): boolean {
    const { layout, pte: ptes, shootdown } = this.machine.production;
    const { memory } = this;
    const slot = this.machine.slot(guest, gfn);
    const pte = ptes.readPte(memory, slot);
    if (!ptes.pteIsPresent(pte)) return false;
    const wasDirty = (pte & layout.PTE_DIRTY) !== 0;
    if (wasDirty && !ptes.casPte(memory, slot, pte, pte & ~layout.PTE_DIRTY)) return false;
    const all = layout.SHOOTDOWN_ALL;
    const seq = shootdown.beginShootdown(memory, guest, all);
    if (shootdown.awaitShootdown(memory, guest, all, seq, memory.patience.scanMs) < 0) return true;
    if (wasDirty) this.setDirty(slot);
    return false;
  }

  private setDirty(slot: number): void {
    const { layout, pte: ptes } = this.machine.production;
    for (;;) {
      const pte = ptes.readPte(this.memory, slot);
      if (!ptes.pteIsPresent(pte) || (pte & layout.PTE_DIRTY) !== 0) return;
      if (ptes.casPte(this.memory, slot, pte, pte | layout.PTE_DIRTY)) return;
    }
  }

  /** The two cells of a quiet page, if they may be trusted: read under a reference, and D still clear after. */
  hash(guest: number, gfn: number): readonly [number, number] | null {
    const { frames, layout, pageRef, pte: ptes } = this.machine.production;
    const { memory } = this;
    const slot = this.machine.slot(guest, gfn);
    const pte = ptes.readPte(memory, slot);
    if (!ptes.pteIsPresent(pte) || (pte & layout.PTE_DIRTY) !== 0) return null;
    const pfn = layout.ptePfn(pte);
    if (pageRef.tryGetPage(memory, pfn) !== pageRef.REF_HELD) return null;
    const hashes = new Int32Array(2);
    memory.kernels.hashPages(Int32Array.of(pfn), 1, hashes);
    frames.putPage(memory, pfn);
    if (ptes.readPte(memory, slot) !== pte) return null;
    return [hashes[0] as number, hashes[1] as number];
  }

  /** A trusted hash is exact as long as D stays clear and nobody holds the frame but its ptes. */
  expectExact(guest: number, gfn: number, hash: readonly [number, number]): void {
    const { layout, pageRef } = this.machine.production;
    ghost(() => {
      const pte = this.machine.pte(guest, gfn);
      const pfn = layout.ptePfn(pte);
      const isPresent = (pte & layout.PTE_STATE_MASK) === layout.PTE_PRESENT;
      if (!isPresent || (pte & layout.PTE_DIRTY) !== 0) return;
      if (pageRef.pageRef(this.memory, pfn) !== pageRef.mapcount(this.memory, pfn)) return;
      for (const [cell, expected] of hash.entries()) {
        const { words, index } = this.machine.cell(pfn, cell);
        if (words[index] === expected) continue;
        throw new Error(
          `PTE-1: written with D clear: cell ${cell}, ${expected} -> ${words[index]}`,
        );
      }
    });
  }

  /** Redirects a quiet page to KSM frame `target` if their bytes are equal; its old frame goes to limbo. */
  merge(guest: number, gfn: number, target: number): boolean {
    const { frames, layout, limbo, pageRef, pte: ptes } = this.machine.production;
    const { memory } = this;
    const slot = this.machine.slot(guest, gfn);
    const pte = ptes.readPte(memory, slot);
    const quiet = layout.PTE_PRESENT | layout.PTE_WRITABLE;
    if ((pte & layout.PTE_FLAGS_MASK) !== quiet) return false;
    const pfn = layout.ptePfn(pte);
    if (pageRef.tryGetPage(memory, pfn) !== pageRef.REF_HELD) return false;
    const exclusive = ptes.readPte(memory, slot) === pte && pageRef.pageRef(memory, pfn) === 2;
    if (!exclusive || pageRef.tryGetPage(memory, target) !== pageRef.REF_HELD) {
      frames.putPage(memory, pfn);
      return false;
    }
    pageRef.addMapping(memory, target);
    const merged = layout.makePte(target, layout.PTE_PRESENT | layout.PTE_MERGED);
    const done =
      memory.kernels.equalPages(pfn, target) && ptes.casPteMerged(memory, slot, pte, merged);
    pageRef.dropMapping(memory, done ? pfn : target);
    if (done) limbo.pushLimbo(memory, guest, pfn);
    else frames.putPage(memory, target);
    frames.putPage(memory, pfn);
    return done;
  }
}
