/**
 * layout - writes native-free-wasm/assembly/*.gen.ts from the TypeScript sources, so that page size,
 * constants and the secret stand in one place. `--check` writes nothing and exits 1 when one is stale.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { layoutSource, scalarSource, secretSource, simdSource } from "./unroll.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const SOURCES = [
  "./src/base/units.ts",
  "./src/kernels/wasm-interface.ts",
  "./src/kernels/xxhash-constants.ts",
];

/** Evaluates the TypeScript sources and returns everything they export. */
async function readConstants() {
  const contents = SOURCES.map((path) => `export * from "${path}";`).join("\n");
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: ROOT },
    bundle: true,
    format: "esm",
    write: false,
  });
  const code = Buffer.from(outputFiles[0].contents).toString("base64");
  return import(`data:text/javascript;base64,${code}`);
}

/** Generated files: path from this folder, and text. */
export async function generatedFiles() {
  const constants = await readConstants();
  return new Map([
    ["assembly/layout.gen.ts", layoutSource(constants)],
    ["assembly/xxh3-secret.gen.ts", secretSource(constants)],
    ["assembly/xxh3-simd.gen.ts", simdSource(constants)],
    ["assembly/xxh3-scalar.gen.ts", scalarSource(constants)],
  ]);
}

function readIfThere(url) {
  try {
    return readFileSync(url, "utf8");
  } catch {
    return "";
  }
}

/** Writes what differs, or only names it; returns the paths that differed. */
export async function updateLayout({ write }) {
  const stale = [];
  for (const [path, text] of await generatedFiles()) {
    const url = new URL(path, import.meta.url);
    if (readIfThere(url) === text) continue;
    stale.push(path);
    if (write) writeFileSync(url, text);
  }
  return stale;
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const check = process.argv.includes("--check");
  const stale = await updateLayout({ write: !check });
  for (const path of stale) console.log(`${check ? "stale" : "written"}: ${path}`);
  if (check && stale.length > 0) {
    console.log("Run `node native-free-wasm/layout.mjs` and commit what it writes.");
    process.exitCode = 1;
  }
}
