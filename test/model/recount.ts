/** recount - what must hold of ptes, refs and mapcounts: at every moment, and when all threads have ended. */
import type { TinyMachine } from "./machine.js";

/** What the ptes say of each frame. */
interface Maps {
  /** Ptes that map it; entries do not count. */
  readonly present: Map<number, number>;
  /** Ptes that name it, entries included. */
  readonly named: Map<number, number>;
  readonly writable: Set<number>;
  readonly merged: number;
}

function countPtes(machine: TinyMachine): Maps {
  const { layout } = machine.production;
  const present = new Map<number, number>();
  const named = new Map<number, number>();
  const writable = new Set<number>();
  let merged = 0;
  for (const [guest, gfn] of machine.pages) {
    const pte = machine.pte(guest, gfn);
    if (pte === layout.PTE_NONE) continue;
    const pfn = layout.ptePfn(pte);
    const isPresent = (pte & layout.PTE_STATE_MASK) === layout.PTE_PRESENT;
    named.set(pfn, (named.get(pfn) ?? 0) + 1);
    if (isPresent) present.set(pfn, (present.get(pfn) ?? 0) + 1);
    if (isPresent && (pte & layout.PTE_WRITABLE) !== 0) writable.add(pfn);
    if ((pte & layout.PTE_MERGED) === 0) continue;
    merged++;
    if ((pte & layout.PTE_WRITABLE) !== 0) throw new Error("PTE-3: M and W");
  }
  return { present, named, writable, merged };
}

function record(machine: TinyMachine, pfn: number, field: number): number {
  const { base } = machine.production;
  const words = base.blockOf(machine.memory, pfn).words;
  return words[base.recordWord(machine.memory, pfn) + field] as number;
}

/** At every moment: PTE-3, PTE-5, REF-4, and no pte on a frame that may be freed. */
export function checkPtes(machine: TinyMachine): void {
  const { layout } = machine.production;
  const maps = countPtes(machine);
  const { control, layout: at } = machine.memory;
  const counted = control[at.engine + layout.ENGINE_KSM_PTES] as number;
  if (counted < maps.merged) throw new Error(`PTE-5: ${counted} counted, ${maps.merged} with M`);
  for (const pfn of maps.writable) {
    if (maps.named.get(pfn) !== 1) throw new Error(`PTE-3: frame ${pfn} is W and mapped twice`);
  }
  for (const [pfn, count] of maps.present) {
    const mapcount = record(machine, pfn, layout.RECORD_MAPCOUNT);
    if (mapcount < count) throw new Error(`REF-4: frame ${pfn} has mapcount ${mapcount}`);
    const ref = record(machine, pfn, layout.RECORD_REF);
    if (ref < count) throw new Error(`REF-1: frame ${pfn} is mapped with ref ${ref}`);
  }
}

/** References that the guests' limbo lists hold. */
function limboRefs(machine: TinyMachine): Map<number, number> {
  const { base, guest, layout } = machine.production;
  const { memory } = machine;
  const refs = new Map<number, number>();
  for (let id = 0; id < memory.sizes.guests; id++) {
    let next = memory.control[guest.guestWord(memory, id) + layout.GUEST_LIMBO] as number;
    for (
      ;
      next !== 0;
      next = base.blockOf(memory, next - 1).words[base.coldWord(memory, next - 1)] as number
    ) {
      if (refs.has(next - 1)) throw new Error(`LIMBO-1: frame ${next - 1} is in limbo twice`);
      refs.set(next - 1, 1);
    }
  }
  return refs;
}

/** At the end: REF-1, REF-4, FREE-1, MAP-1, no entry, lock, drain or sleeper left, PTE-5 exact. */
export function checkCounts(machine: TinyMachine, extra: ReadonlyMap<number, number>): void {
  const { base, layout } = machine.production;
  const { memory } = machine;
  const maps = countPtes(machine);
  for (const [guest, gfn] of machine.pages) {
    const pte = machine.pte(guest, gfn);
    if ((pte & layout.PTE_STATE_MASK) === layout.PTE_ENTRY) throw new Error("PTE-4: entry left");
    if ((pte & layout.PTE_SLEEPERS) !== 0) throw new Error("PTE-4: S left");
  }
  const counted = memory.control[memory.layout.engine + layout.ENGINE_KSM_PTES] as number;
  if (counted !== maps.merged) {
    throw new Error(`PTE-5: ${counted} counted at the end, ${maps.merged} with M`);
  }
  const limbo = limboRefs(machine);
  for (let pfn = 0; pfn < base.framesEnd(memory); pfn++) {
    const mapped = maps.present.get(pfn) ?? 0;
    checkFrame(machine, pfn, mapped, mapped + (extra.get(pfn) ?? 0) + (limbo.get(pfn) ?? 0));
  }
  for (let vcpu = 0; vcpu < memory.sizes.vcpus; vcpu++) {
    const word = memory.layout.vcpus + vcpu * layout.VCPU_WORDS;
    if (memory.control[word + layout.VCPU_SLEEPERS] !== 0)
      throw new Error("SHOOT-3: sleepers left");
  }
  if (memory.control[memory.layout.engine + layout.ENGINE_DRAINS] !== 0) {
    throw new Error("LIMBO-3: a drain that never ends");
  }
}

function checkFrame(machine: TinyMachine, pfn: number, mapped: number, expected: number): void {
  const { frames, isolate, layout } = machine.production;
  const ref = record(machine, pfn, layout.RECORD_REF);
  if (ref !== expected) {
    throw new Error(`REF-1: frame ${pfn} has ref ${ref}, expected ${expected}`);
  }
  const mapcount = record(machine, pfn, layout.RECORD_MAPCOUNT);
  if (ref > 0 && mapcount !== mapped) {
    throw new Error(`REF-4: frame ${pfn} has mapcount ${mapcount}, expected ${mapped}`);
  }
  const unused =
    frames.frameIsFree(machine.memory, pfn) || isolate.frameIsIsolated(machine.memory, pfn);
  if (unused !== (expected === 0)) {
    throw new Error(`FREE-1: the free bit of frame ${pfn} is wrong`);
  }
  const mapping = record(machine, pfn, layout.RECORD_MAPPING);
  if ((mapping === layout.MAPPING_NOBODY) !== (expected === 0)) {
    throw new Error(`MAP-1: frame ${pfn} with ref ${ref} has mapping ${mapping}`);
  }
  if (record(machine, pfn, layout.RECORD_LOCK) !== 0) throw new Error("LOCK-1: lock left");
}
