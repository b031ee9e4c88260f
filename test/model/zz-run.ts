import { explorer } from "./explorer.js";
import { loadProduction } from "./loader.js";
import { TinyMachine } from "./machine.js";

const production = await loadProduction();
const vcpus = [0, 0, 0];
const machine = new TinyMachine(production, { vcpus: [...vcpus], framesShift: 2 });
machine.populate(0, 0, [5, 6]);
const c = machine.memory.control;
const L = production.layout;
c[machine.memory.layout.ptes] =
  (c[machine.memory.layout.ptes] as number) & ~(L.PTE_WRITABLE | L.PTE_DIRTY);
const threads: Record<string, () => void> = {};
vcpus.forEach((_, v) => {
  threads[`v${v}`] = () => {
    const cpu = machine.vcpu(machine.view(v), v, `v${v}`);
    cpu.begin();
    if (v === 2) {
      cpu.load(0, 0);
      cpu.load(0, 1);
    } else cpu.store(0, v, 10 + v);
    cpu.end();
  };
});
const t = performance.now();
const report = explorer.explore(
  machine.scenario(threads, () => machine.checkCounts()),
  { preemptions: 2 },
);
if (report.failure) console.log(report.failure);
console.log(report.executions, report.operations, performance.now() - t);
