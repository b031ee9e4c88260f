/** bundle - makes JavaScript of the benchmarks' TypeScript, and of the benchmarks' only. */
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/** What is measured stays what is shipped. */
const shipped = {
  name: "shipped",
  setup({ onResolve }) {
    onResolve({ filter: /\/dist\// }, ({ path, resolveDir }) => ({
      path: pathToFileURL(join(resolveDir, path)).href,
      external: true,
    }));
  },
};

/** Bundles files of the repository side by side into `out`, a folder from which packages are found. */
export async function bundle(files, out) {
  await build({
    entryPoints: files.map((file) => join(ROOT, file)),
    entryNames: "[name]",
    outdir: out,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    packages: "external",
    plugins: [shipped],
    logLevel: "warning",
  });
}
