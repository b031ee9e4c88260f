/** moving - the tiny machine of the migrators' tests: two nodes of 1 to 4 frames, vCPUs that write and read a page. */
import type { Production } from "./loader.js";
import { TinyMachine, type TinyOptions } from "./machine.js";
import { Migrators } from "./migrator.js";

/** A stable node. */
export const NODE = 1;
/** Page 0 of guests 0 and 1. */
export const BOTH = [
  [0, 0],
  [1, 0],
] as const;

/** Guests live on nodes 0 and 1 by turns; frames of node 0 come first. */
export class Moving extends TinyMachine {
  readonly migrators = new Migrators(this);

  constructor(production: Production, options: TinyOptions = {}) {
    super(production, { framesShift: 1, nodes: 2, guests: [1], vcpus: [0], ...options });
  }

  /** A vCPU that writes and reads page `gfn` in one section. */
  writer(vcpu: number, gfn = 0): () => void {
    return () => {
      const cpu = this.vcpu(this.view(vcpu), vcpu, `writer${vcpu}`);
      cpu.begin();
      cpu.store(gfn, 0, 11 + vcpu);
      cpu.load(gfn, 1);
      cpu.store(gfn, 1, 21 + vcpu);
      cpu.load(gfn, 0);
      cpu.end();
    };
  }

  /** A vCPU that reads page `gfn` again and again in one section. */
  reader(vcpu: number, gfn = 0): () => void {
    return () => {
      const cpu = this.vcpu(this.view(vcpu), vcpu, `reader${vcpu}`);
      cpu.begin();
      cpu.load(gfn, 0);
      cpu.load(gfn, 1);
      cpu.load(gfn, 0);
      cpu.end();
    };
  }
}

/** Page 0 of guests 0 and 1 in one KSM frame, of node 0. */
export function sharing(
  production: Production,
  options: TinyOptions = {},
): Moving & { pfn: number } {
  const machine = new Moving(production, { guests: [1, 1], vcpus: [0, 1], ...options });
  return Object.assign(machine, { pfn: machine.share(BOTH, [5, 6], NODE) });
}
