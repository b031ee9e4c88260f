/**
 * loader - bundles the production sources with the seam's twin, as they stand or with one mechanical edit.
 *
 * A mutant is the production file with one text replaced by another; the text must occur exactly once, so
 * a mutant whose place has changed fails loudly. Sizes that would only multiply states are made small.
 */
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build, type Plugin } from "esbuild";
import type * as production from "./production.js";

export type Production = typeof production;

export interface Edit {
  /** Below src, without extension: "mm/pte". */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const root = fileURLToPath(new URL("../../", import.meta.url));

/** A TLB of one entry; a frozen frame is tried twice. */
const SMALL: readonly Edit[] = [
  { file: "base/layout", find: "TLB_SHIFT = 9", replace: "TLB_SHIFT = 0" },
  { file: "mm/keyhole", find: "FROZEN_TRIES = 256", replace: "FROZEN_TRIES = 2" },
];

let generation = 0;

/** The production modules under the explorer, with these edits. */
export async function loadProduction(...edits: readonly Edit[]): Promise<Production> {
  const result = await build({
    entryPoints: [`${root}test/model/production.ts`],
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "node20",
    sourcemap: "inline",
    external: ["*/explorer.js"],
    plugins: [seamTwin(), edited([...SMALL, ...edits])],
    logLevel: "silent",
  });
  const code = result.outputFiles[0]?.text ?? "";
  // The generation keeps Node from answering with an earlier import of the same text.
  const url = `data:text/javascript;base64,${Buffer.from(`${code}\n//${generation++}`).toString("base64")}`;
  return (await import(/* @vite-ignore */ url)) as Production;
}

function seamTwin(): Plugin {
  return {
    name: "seam-twin",
    setup(build) {
      build.onResolve({ filter: /base\/atomics\.js$|^\.\/atomics\.js$/ }, () => ({
        path: `${root}test/model/seam.ts`,
      }));
      // The explorer is this process's own: the bundle finds it where explorer.ts left it.
      build.onResolve({ filter: /explorer\.js$/ }, (args) => ({
        path: args.path,
        namespace: "explorer",
      }));
      build.onLoad({ filter: /.*/, namespace: "explorer" }, () => ({
        contents: `export const explorer = globalThis[Symbol.for("pagefold.explorer")];`,
      }));
    },
  };
}

function edited(edits: readonly Edit[]): Plugin {
  return {
    name: "edits",
    setup(build) {
      build.onLoad({ filter: /\/src\/.*\.ts$/ }, async ({ path }) => {
        const file = path.slice(path.lastIndexOf("/src/") + 5, -3);
        let contents = await readFile(path, "utf8");
        for (const edit of edits) {
          if (edit.file === file) contents = replaceOnce(contents, edit);
        }
        return { contents, loader: "ts" };
      });
    },
  };
}

function replaceOnce(text: string, edit: Edit): string {
  const parts = text.split(edit.find);
  if (parts.length !== 2) {
    throw new Error(
      `mutant of ${edit.file}: ${parts.length - 1} places for ${JSON.stringify(edit.find)}`,
    );
  }
  return parts.join(edit.replace);
}
