/**
 * build - compiles the AssemblyScript kernels into dist/kernels/pagefold.{simd,scalar}.wasm.
 *
 * The generated sources must be current: a stale one stops the build, nothing is rewritten in passing.
 */
import { mkdirSync } from "node:fs";
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";
import { updateLayout } from "./layout.mjs";

const ROOT = fileURLToPath(new URL("../", import.meta.url));
const OUT = fileURLToPath(new URL("../dist/kernels/", import.meta.url));

const FLAGS = [
  ...["--optimizeLevel", "3", "--shrinkLevel", "0", "--converge", "--noAssert"],
  // No allocation and no static data: every byte of the memory belongs to frames and their records.
  ...["--runtime", "stub"],
  // The block is imported, so several instances (one a thread) work on it in place. Any size up to 4 GiB.
  ...["--importMemory", "--noExportMemory", "--sharedMemory"],
  ...["--initialMemory", "1", "--maximumMemory", "65536", "--enable", "threads"],
];
const BUILDS = [
  { name: "simd", flags: ["--enable", "simd"] },
  { name: "scalar", flags: ["--disable", "simd"] },
];

async function compile({ name, flags }) {
  const entry = fileURLToPath(new URL(`assembly/${name}.ts`, import.meta.url));
  const out = `${OUT}pagefold.${name}.wasm`;
  // asc takes paths relative to its base directory only.
  const paths = [relative(ROOT, entry), "--outFile", relative(ROOT, out), "--baseDir", ROOT];
  const { error, stderr } = await asc.main([...paths, ...FLAGS, ...flags]);
  if (error) throw new Error(`asc could not compile ${name}:\n${stderr.toString()}`);
  console.log(`built dist/kernels/pagefold.${name}.wasm`);
}

const stale = await updateLayout({ write: false });
if (stale.length > 0) {
  throw new Error(
    `${stale.join(", ")} stale: run \`node native-free-wasm/layout.mjs\` and commit it`,
  );
}
mkdirSync(OUT, { recursive: true });
for (const build of BUILDS) await compile(build);
