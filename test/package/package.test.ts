/** What the package consists of, how large it is, and that linters of packages find nothing. */
import fs from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { command } from "./command.ts";
import { installed, MANIFEST, packed, ROOT } from "./packed.ts";

/** Every package that installing this one brings, apart from what is optional. */
const BROUGHT = [
  ...["acorn", "ansi-regex", "astring", "cli-progress", "cli-table3", "commander", "emoji-regex"],
  ...["is-fullwidth-code-point", "piscina", "string-width", "strip-ansi", "xxhash-wasm"],
];

/** Bytes at most: what they were when last looked at, and 15 % more. */
const BUDGET = { packed: 310_000, unpacked: 1_083_000, installed: 3_160_000 };

/** Files below a folder, relative to it. */
function filesBelow(root: string): string[] {
  return fs
    .readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1));
}

describe("the tarball", () => {
  it("has at its top what is needed, and no more", async () => {
    const { files } = await packed();
    const top = new Set(files.map((path) => path.split("/")[0]));
    expect([...top].sort()).toEqual([
      ...["CAVEATS.md", "CHANGELOG.md", "LICENSE", "README.md"],
      ...["dist", "docs", "package.json", "schema"],
    ]);
    const beside = files.filter((path) => /^(docs|schema)\//.test(path));
    expect(beside).toEqual([
      "docs/api.md",
      "docs/embedding.md",
      "schema/run.schema.json",
      "schema/stress.schema.json",
    ]);
  });

  it("has in dist what the sources make, the kernels, and nothing of before", async () => {
    const { files } = await packed();
    const sources = filesBelow(join(ROOT, "src")).filter((path) => !path.endsWith(".d.ts"));
    const made = sources.flatMap((path) => {
      const name = path.replace(/\.ts$/, "");
      return name.startsWith("cli/") ? [`${name}.js`] : [`${name}.js`, `${name}.d.ts`];
    });
    const kernels = ["kernels/pagefold.scalar.wasm", "kernels/pagefold.simd.wasm"];
    const dist = files.filter((path) => path.startsWith("dist/"));
    expect(dist.map((path) => path.slice("dist/".length))).toEqual([...made, ...kernels].sort());
  });

  it("has no native code, no maps, no tests, and runs nothing when it is installed", async () => {
    const { files } = await packed();
    expect(files.filter((path) => /\.(node|gyp|gypi|map|tgz|so)$/.test(path))).toEqual([]);
    expect(files.filter((path) => /(^|\/)(test|src|bench)\/|\.test\./.test(path))).toEqual([]);
    const scripts = Object.keys(MANIFEST.scripts);
    expect(scripts.filter((name) => /^(pre|post)?install$|^prepare$/.test(name))).toEqual([]);
  });

  it("keeps to its budget", async () => {
    const { packedBytes, unpackedBytes } = await packed();
    expect(packedBytes).toBeLessThanOrEqual(BUDGET.packed);
    expect(unpackedBytes).toBeLessThanOrEqual(BUDGET.unpacked);
  });
});

describe("what installing it brings", () => {
  it("is these packages, and not too many bytes", async () => {
    const modules = join(await installed(), "node_modules");
    const files = filesBelow(modules);
    const manifest = /^(?:.*node_modules\/)?((?:@[^/]+\/)?[^/]+)\/package\.json$/;
    const names = files.flatMap((path) => manifest.exec(path)?.[1] ?? []);
    expect(names.sort()).toEqual([...BROUGHT, MANIFEST.name].sort());
    const bytes = files.reduce((sum, path) => sum + fs.statSync(join(modules, path)).size, 0);
    expect(bytes).toBeLessThanOrEqual(BUDGET.installed);
    expect(files.filter((path) => path.endsWith(".node"))).toEqual([]);
  });
});

describe("the linters of packages", () => {
  it("publint finds nothing", async () => {
    const { tarball } = await packed();
    const { status, stdout } = await command("npx", ["publint", "run", tarball, "--strict"], ROOT);
    expect(stdout).toMatch(/All good!/);
    expect(status).toBe(0);
  });

  // The package is ESM: `require()` of it is for Node to allow, which the profile of attw leaves out, as it does
  // the resolution of TypeScript before `exports`.
  it("attw finds nothing, in any entry point", async () => {
    const { tarball } = await packed();
    const args = ["attw", tarball, "--profile", "esm-only", "--format", "json"];
    const { status, stdout } = await command("npx", args, ROOT);
    const { analysis } = JSON.parse(stdout);
    const entrypoints = Object.keys(analysis.entrypoints);
    expect(entrypoints.sort()).toEqual([
      ".",
      "./package.json",
      "./run.schema.json",
      "./stress.schema.json",
    ]);
    expect(status).toBe(0);
  });
});
