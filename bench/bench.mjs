/**
 * bench - bundles the benchmarks' TypeScript and runs them: `npm run bench -- --help`.
 *
 * Only the benchmarks are bundled. What they measure is imported from dist, as it is shipped.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { bundle } from "./bundle.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const DIST = join(ROOT, "dist");

/** Compiles the read roofline, as the kernels are compiled, but it is not shipped; returns its bytes. */
async function compileRoofline() {
  const { default: asc } = await import("assemblyscript/asc");
  const source = readFileSync(new URL("./roofline.as", import.meta.url), "utf8");
  const flags = [
    ...["roofline.ts", "--outFile", "roofline.wasm", "--optimizeLevel", "3", "--noAssert"],
    ...["--runtime", "stub", "--importMemory", "--noExportMemory", "--sharedMemory"],
    ...["--initialMemory", "1", "--maximumMemory", "65536", "--enable", "threads,simd"],
  ];
  let binary = null;
  const { error, stderr } = await asc.main(flags, {
    readFile: (name) => (name === "roofline.ts" ? source : null),
    writeFile: (_name, contents) => {
      binary = contents;
    },
    listFiles: () => [],
  });
  if (error) throw new Error(`asc could not compile the read roofline:\n${stderr.toString()}`);
  return binary;
}

if (!existsSync(join(DIST, "index.js")) || !existsSync(join(DIST, "kernels/pagefold.simd.wasm"))) {
  process.stderr.write("bench: dist: it is not built; run npm run build\n");
  process.exit(2);
}
mkdirSync(join(ROOT, ".pagefold"), { recursive: true });
const out = mkdtempSync(join(ROOT, ".pagefold/bench-"));
process.on("exit", () => rmSync(out, { recursive: true, force: true }));
await bundle(["bench/main.ts", "bench/vcpu-worker.ts"], out);
const { main } = await import(pathToFileURL(join(out, "main.js")).href);
process.exitCode = await main(process.argv.slice(2), { root: ROOT, compileRoofline });
