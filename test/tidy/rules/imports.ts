/**
 * imports - who may import whom, no cycles, and no export that nobody imports.
 */
import { type Import, moduleOf, resolve } from "./modules.ts";
import { isDeclaration, layerOf, type Rule, type SourceFile, type Violation } from "./source.ts";

interface Layer {
  readonly layers: readonly string[];
  /** May it import `node:` modules and packages? */
  readonly outside: boolean;
}

/** base <- kernels, mm <- {ksm, migrate} <- machine <- {cli, index} */
const LAYERS: Readonly<Record<string, Layer>> = {
  base: { layers: ["base"], outside: false },
  kernels: { layers: ["base", "kernels"], outside: true },
  mm: { layers: ["base", "mm"], outside: false },
  ksm: { layers: ["base", "mm", "ksm"], outside: false },
  migrate: { layers: ["base", "mm", "migrate"], outside: false },
  machine: { layers: ["base", "kernels", "mm", "ksm", "migrate", "machine"], outside: true },
  cli: { layers: ["base", "machine", "index", "cli"], outside: true },
  // Beside the machine, the types that its interface speaks of.
  index: { layers: ["base", "kernels", "ksm", "migrate", "machine"], outside: false },
};

/** Packages that one file alone may import. */
const SOLE_IMPORTERS: Readonly<Record<string, string>> = { piscina: "src/machine/topology.ts" };

function faultOf(file: SourceFile, layer: Layer, each: Import): string | undefined {
  const target = resolve(file.path, each.specifier);
  const from = layerOf(file.path);
  if (target === undefined) {
    const name = each.specifier.replace(/^((?:@[^/]+\/)?[^/]+).*$/, "$1");
    const sole = SOLE_IMPORTERS[name];
    if (!layer.outside) return `${from} must import nothing from outside ("${each.specifier}")`;
    if (sole !== undefined && sole !== file.path) return `only ${sole} may import ${name}`;
    return undefined;
  }
  const to = layerOf(target);
  if (to === undefined) return `"${each.specifier}" lies outside src`;
  if (!layer.layers.includes(to)) return `${from} must not import ${to} ("${each.specifier}")`;
  return undefined;
}

export const layers: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    const from = layerOf(file.path);
    if (from === undefined || isDeclaration(file.path)) continue;
    const layer = LAYERS[from];
    const report = (line: number, message: string): void => {
      violations.push({ path: file.path, line, rule: "layers", message });
    };
    if (layer === undefined) {
      report(1, `${from} is no layer`);
      continue;
    }
    for (const each of moduleOf(file).imports) {
      const message = faultOf(file, layer, each);
      if (message !== undefined) report(each.line, message);
    }
  }
  return violations;
};

interface Edge {
  readonly to: string;
  readonly line: number;
}

export const cycles: Rule = (files) => {
  const edges = new Map<string, Edge[]>();
  for (const file of files) {
    if (layerOf(file.path) === undefined) continue;
    const loaded = moduleOf(file).imports.filter((each) => !each.typeOnly);
    const targets = loaded.map((each) => ({
      to: resolve(file.path, each.specifier) ?? "",
      line: each.line,
    }));
    edges.set(file.path, targets);
  }
  const violations: Violation[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    if (done.has(path)) return;
    trail.push(path);
    for (const { to, line } of edges.get(path) ?? []) {
      const at = trail.indexOf(to);
      if (at >= 0) {
        const message = [...trail.slice(at), to].join(" -> ");
        violations.push({ path, line, rule: "cycles", message });
      } else {
        visit(to);
      }
    }
    trail.pop();
    done.add(path);
  };
  for (const path of edges.keys()) visit(path);
  return violations;
};

/**
 * The WebAssembly kernels get some constants by name, generated: a source that is named there may export
 * what is named there.
 */
function copiedExports(files: readonly SourceFile[]): (path: string, name: string) => boolean {
  const kernels = files.filter((file) => file.path.startsWith("native-free-wasm/"));
  const text = kernels.map((file) => file.text).join("\n");
  const words = new Set(text.match(/\w+/g) ?? []);
  return (path, name) => words.has(name) && text.includes(path);
}

export const deadExports: Rule = (files) => {
  const used = new Map<string, Set<string>>();
  for (const file of files) {
    for (const { specifier, bindings } of moduleOf(file).imports) {
      const target = resolve(file.path, specifier);
      if (target === undefined) continue;
      const names = used.get(target) ?? new Set();
      for (const { imported } of bindings) names.add(imported);
      used.set(target, names);
    }
  }
  const copied = copiedExports(files);
  const violations: Violation[] = [];
  for (const file of files) {
    const layer = layerOf(file.path);
    if (layer === undefined || layer === "index" || isDeclaration(file.path)) continue;
    const names = used.get(file.path);
    for (const { name, line } of moduleOf(file).exports) {
      if (names?.has("*") === true || names?.has(name) === true) continue;
      if (copied(file.path, name)) continue;
      const message = `${name} is exported and imported nowhere`;
      violations.push({ path: file.path, line, rule: "dead-exports", message });
    }
  }
  return violations;
};
