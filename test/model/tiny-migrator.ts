/**
 * tiny-migrator - moves one frame by the protocol that mm's words are made for: entries, shootdown, freeze,
 * copy, move the node, install. The shipped one is src/migrate.
 */
import type { Memory } from "../../src/base/memory.js";
import type { TinyMachine } from "./machine.js";

interface Place {
  readonly guest: number;
  readonly slot: number;
  readonly pte: number;
}

export class TinyMigrator {
  constructor(
    private readonly machine: TinyMachine,
    private readonly memory: Memory,
  ) {}

  /** Moves frame `old`, of stable node `stable` or anonymous (NONE), to a frame taken anew. */
  move(old: number, stable: number): boolean {
    const { frames, pageLock, pageRef } = this.machine.production;
    const { memory } = this;
    if (pageRef.tryGetPage(memory, old) !== pageRef.REF_HELD) return false;
    if (!pageLock.trylockPage(memory, old)) {
      frames.putPage(memory, old);
      return false;
    }
    const target = frames.allocFrame(memory, 0, 0, 0);
    const moved = target >= 0 && this.moveTo(old, target, stable);
    pageLock.unlockPage(memory, old);
    if (moved) {
      pageRef.unfreezePage(memory, old, 0);
      frames.freeFrame(memory, old);
    } else {
      frames.putPage(memory, old);
    }
    if (target >= 0) frames.putPage(memory, target);
    return moved;
  }

  private moveTo(old: number, target: number, stable: number): boolean {
    const { keyhole, pageLock, pageMapping, pageRef } = this.machine.production;
    const { memory } = this;
    const key = pageMapping.readMapping(memory, old);
    if (stable >= 0 && key !== this.machine.key(stable)) return false;
    pageLock.trylockPage(memory, target);
    const places = this.unmap(old);
    const alone = this.shootDown(places) && pageRef.mapcount(memory, old) === 0;
    const moved = alone && pageRef.freezePage(memory, old, 1);
    if (moved) {
      memory.kernels.copyPage(target, old);
      if (stable >= 0) keyhole.moveStableFrame(memory, stable, key, old, target);
      else pageMapping.clearMapping(memory, old);
    }
    this.install(places, moved ? target : old);
    pageLock.unlockPage(memory, target);
    return moved;
  }

  /** Puts entries in the place of every pte, and drops what they held. */
  private unmap(old: number): Place[] {
    const { pte: ptes, rmap } = this.machine.production;
    const places: Place[] = [];
    rmap.walkMappings(this.memory, old, (guest, slot, pte) => {
      if (ptes.casPte(this.memory, slot, pte, ptes.entryFor(pte))) {
        places.push({ guest, slot, pte });
        this.dropOne(old);
      }
      return true;
    });
    return places;
  }

  private dropOne(pfn: number): void {
    this.machine.production.pageRef.dropMapping(this.memory, pfn);
    this.machine.production.frames.putPage(this.memory, pfn);
  }

  private shootDown(places: readonly Place[]): boolean {
    const { layout, shootdown } = this.machine.production;
    const { memory } = this;
    const all = layout.SHOOTDOWN_ALL;
    return places.every(({ guest }) => {
      const seq = shootdown.beginShootdown(memory, guest, all);
      return shootdown.awaitShootdown(memory, guest, all, seq, memory.patience.scanMs) < 0;
    });
  }

  private install(places: readonly Place[], pfn: number): void {
    const { layout, pageRef, pte: ptes } = this.machine.production;
    for (const { slot, pte } of places) {
      pageRef.getPage(this.memory, pfn);
      pageRef.addMapping(this.memory, pfn);
      const flags = pte & layout.PTE_FLAGS_MASK;
      ptes.finishEntry(this.memory, slot, layout.makePte(pfn, flags));
    }
  }
}
