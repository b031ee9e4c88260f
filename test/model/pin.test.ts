/**
 * Question: does what a device writes through its pin stay the guest's, whatever ksmd, a migrator or a
 * sibling vCPU do to the page; and is a hash that ksmd trusts exact again once the pin is gone?
 * Threads: a device, and one or two of ksmd, vCPU, migrator. Frames: 4 a node. Bounds: 3 preemptions for two
 * threads, 2 for three.
 */
import { describe } from "vitest";
import { Device } from "./device.js";
import type { Production } from "./loader.js";
import { TinyMachine, type TinyOptions } from "./machine.js";
import { Migrators } from "./migrator.js";
import { type Build, lines, mustFail, mustHold, mutant } from "./mutants.js";
import { TinyKsmd } from "./tiny-ksmd.js";

const BOUNDS = { preemptions: 3 };
const NARROW = { preemptions: 2 };

/** Page 0 of guest 0, private and quiet, has the bytes of the KSM frame that guest 1 maps. */
class Pinning extends TinyMachine {
  readonly target: number;
  readonly frame: number;
  readonly migrators = new Migrators(this);

  constructor(production: Production, options: TinyOptions = {}) {
    super(production, { framesShift: 2, nodes: 2, guests: [1, 1], vcpus: [0, 0], ...options });
    this.target = this.share([[1, 0]], [5, 6], 1);
    this.frame = this.populate(0, 0, [5, 6]);
    this.quiet(0, 0);
  }

  /** Pins, writes and reads in place, unpins. */
  device = () => {
    const device = new Device(this, this.view(1), 0);
    const pfn = device.pin(0);
    if (pfn >= 0) this.transfer(device, pfn);
  };

  transfer(device: Device, pfn: number): void {
    device.store(pfn, 0, 0, 21);
    device.load(pfn, 0, 1);
    device.store(pfn, 0, 1, 22);
    device.unpin(0, pfn);
  }

  /** Merges the page if it is quiet still, and again after a harvest. */
  merger = () => {
    const ksmd = new TinyKsmd(this, this.view(2));
    if (ksmd.merge(0, 0, this.target)) return;
    if (ksmd.harvest(0, 0)) ksmd.merge(0, 0, this.target);
  };

  /** Takes a hash, and looks whether it is exact as long as it may be trusted. */
  hasher = () => {
    const ksmd = new TinyKsmd(this, this.view(2));
    const hash = ksmd.harvest(0, 0) ? ksmd.hash(0, 0) : null;
    if (hash !== null) for (let look = 0; look < 2; look++) ksmd.expectExact(0, 0, hash);
  };

  vcpu0 = () => {
    const cpu = this.vcpu(this.view(3), 0, "vcpu0");
    cpu.load(0, 0);
    cpu.store(0, 1, 31);
    cpu.load(0, 1);
  };
}

const merges: Build = (production) => {
  const machine = new Pinning(production);
  const { device, merger } = machine;
  return machine.scenario({ device, merger });
};

const hashes: Build = (production) => {
  const machine = new Pinning(production);
  const { device, hasher } = machine;
  return machine.scenario({ device, hasher });
};

/** The same, from a time when the page is pinned already. */
const unpins: Build = (production) => {
  const machine = new Pinning(production);
  const pfn = new Device(machine, machine.memory, 0).pin(0);
  const device = () => machine.transfer(new Device(machine, machine.view(1), 0), pfn);
  return machine.scenario({ device, hasher: machine.hasher });
};

/** The frame moves away, and is at once another guest's; D was set all the time. */
const reuses: Build = (production) => {
  const machine = new Pinning(production, { framesShift: 1, guests: [1, 1, 1], vcpus: [2] });
  machine.dirty(0, 0);
  const { device, frame } = machine;
  const mover = () => {
    const memory = machine.view(2);
    machine.migrators.moveAway(memory, frame);
    machine.vcpu(memory, 0, "mover").store(0, 0, 77);
  };
  return machine.scenario({ device, mover });
};

/** A migrator in the way of the unpin: it keeps D as it finds it (2o). */
const moves: Build = (production) => {
  const machine = new Pinning(production);
  const { device, frame } = machine;
  const mover = () => {
    const memory = machine.view(2);
    const ksmd = new TinyKsmd(machine, memory);
    const hash = ksmd.harvest(0, 0) ? ksmd.hash(0, 0) : null;
    const moved = machine.migrators.moveAway(memory, frame);
    if (moved && hash !== null) ksmd.expectExact(0, 0, hash);
  };
  return machine.scenario({ device, mover });
};

/** The page is read-only and shared: the device and a vCPU both want a copy. */
const shared: Build = (production) => {
  const machine = new Pinning(production);
  new TinyKsmd(machine, machine.memory).merge(0, 0, machine.target);
  const { device, vcpu0 } = machine;
  return machine.scenario({ device, vcpu0 });
};

/** All at once, on a page that is merged under them or not. */
const all: Build = (production) => {
  const machine = new Pinning(production);
  const { device, merger, vcpu0 } = machine;
  return machine.scenario({ device, merger, vcpu0 });
};

/** A page without a frame. */
const fills: Build = (production) => {
  const machine = new TinyMachine(production, { framesShift: 1, guests: [1], vcpus: [0] });
  return machine.scenario({
    device: () => {
      const device = new Device(machine, machine.view(1), 0);
      const pfn = device.pin(0);
      device.store(pfn, 0, 0, 21);
      device.unpin(0, pfn);
    },
    vcpu0: () => {
      const cpu = machine.vcpu(machine.view(3), 0, "vcpu0");
      cpu.load(0, 0);
      cpu.store(0, 1, 31);
      cpu.load(0, 0);
    },
  });
};

describe("pin", () => {
  mustHold("a device writes while ksmd merges", merges, BOUNDS);
  mustHold("a device writes while ksmd hashes", hashes, BOUNDS);
  mustHold("a device writes and unpins while ksmd hashes", unpins, BOUNDS);
  mustHold("the frame moves away and is reused", reuses, BOUNDS);
  mustHold("a device writes while a migrator moves the frame", moves, BOUNDS);
  mustHold("a device and a vCPU leave a shared frame", shared, BOUNDS);
  mustHold("a device, ksmd and a vCPU on one page", all, NARROW);
  mustHold("a device and a vCPU fill a page", fills, BOUNDS);
});

const PIN = "mm/pin";
const UNPIN =
  "    const dirty = !pteIsPresent(pte) || ptePfn(pte) !== pfn || (pte & PTE_DIRTY) !== 0;\n";

mustFail("pin", NARROW, [
  mutant("a pin that reads the pte again, and sets no D (O6, H43)", merges, /PTE-1/, [
    PIN,
    "  return casPte(memory, slot, pte, pte | PTE_DIRTY);",
    "  return readPte(memory, slot) === pte;",
  ]),
  mutant("a pin that does not look at the pte again", merges, /PTE-1/, [
    PIN,
    "    if (markDirty(memory, slot, pte)) {",
    "    if (pfn !== NONE) {",
  ]),
  mutant("a pin that does not look again if D was set", reuses, /PTE-1|PIN-1/, [
    PIN,
    "if ((pte & PTE_DIRTY) !== 0) return readPte(memory, slot) === pte;",
    "if ((pte & PTE_DIRTY) !== 0) return true;",
  ]),
  mutant("D set before the reference is held", merges, /PTE-1|PIN-1/, [
    PIN,
    lines(
      "    if (tryGetPage(memory, pfn) !== REF_HELD) continue;",
      "    if (markDirty(memory, slot, pte)) {",
    ),
    lines(
      "    if (!markDirty(memory, slot, pte)) continue;",
      "    if (tryGetPage(memory, pfn) === REF_HELD) {",
    ),
  ]),
  mutant(
    "a pin of a read-only page",
    shared,
    /PTE-1|PIN-1/,
    [
      PIN,
      "    if ((pte & PTE_WRITABLE) === 0 || !pteIsPresent(pte)) continue;\n",
      "    if (!pteIsPresent(pte)) continue;\n",
    ],
    [
      PIN,
      "return (pte & PTE_WRITABLE) === 0 ? breakCow(memory, slot, pte) : FAULT_RETRY;",
      "return FAULT_RETRY;",
    ],
  ),
  mutant("a pin given up keeps its reference", merges, /REF-1/, [
    PIN,
    "    putPage(memory, pfn);\n  }\n}",
    "  }\n}",
  ]),
  mutant("unpin sets no D", hashes, /PTE-1/, [PIN, UNPIN, "    const dirty = true;\n"]),
  mutant(
    "unpin sets D after the put",
    unpins,
    /PTE-1/,
    [
      PIN,
      "export function unpinPage(memory: Memory, slot: Slot, pfn: Pfn): void {\n",
      lines(
        "export function unpinPage(memory: Memory, slot: Slot, pfn: Pfn): void {",
        "  putPage(memory, pfn);",
        "",
      ),
    ],
    [
      PIN,
      "casPte(memory, slot, pte, pte | PTE_DIRTY)) break;\n  }\n  putPage(memory, pfn);\n",
      "casPte(memory, slot, pte, pte | PTE_DIRTY)) break;\n  }\n",
    ],
  ),
  mutant("unpin that does not wait for an entry (2o)", moves, /PTE-1/, [
    PIN,
    lines(
      "    if (pteIsEntry(pte)) {",
      "      waitForEntry(memory, slot, pte);",
      "      continue;",
      "    }",
      "    const dirty",
    ),
    "    const dirty",
  ]),
  mutant("unpin that keeps the reference", hashes, /REF-1/, [
    PIN,
    "casPte(memory, slot, pte, pte | PTE_DIRTY)) break;\n  }\n  putPage(memory, pfn);\n",
    "casPte(memory, slot, pte, pte | PTE_DIRTY)) break;\n  }\n",
  ]),
]);
