/**
 * compiler - what each process of the default run is: it parses and transforms the files it is told, as a
 * bundler's worker does, keeps the results, says that it is ready, and lives until pagefold has gone.
 */
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { parse, type Token } from "acorn";
import { generate } from "astring";

/** From pagefold: what to compile. */
export interface Assignment {
  readonly paths: readonly string[];
}

/** To pagefold: the results are in memory, or why they are not. */
export type Answer = { readonly modules: number } | { readonly failed: string };

/** What a bundler's worker keeps, of all modules one after the other. */
interface Results {
  readonly modules: number;
  /** Compact. */
  readonly code: Buffer;
  /** Where each token begins and ends in its source. */
  readonly tokens: Int32Array;
}

const kept: Results[] = [];

process.on("message", ({ paths }: Assignment) => {
  bundle(paths).then(
    (results) => {
      kept.push(results);
      // Trees and strings of modules are garbage by now; a worker that waits for more work has collected it.
      globalThis.gc?.();
      answer({ modules: results.modules });
    },
    (error: Error) => answer({ failed: error.message }),
  );
});
// However pagefold ends, its end of the channel closes.
process.on("disconnect", () => process.exit(0));
// A terminal sends Ctrl-C to its whole group; pagefold decides when this process may go.
process.on("SIGINT", () => {});

function answer(text: Answer): void {
  // That nobody hears it is told by "disconnect".
  process.send?.(text, undefined, undefined, () => {});
}

interface Compiled {
  readonly code: string;
  readonly tokens: Int32Array;
}

/** null for a file that is no JavaScript: packages ship broken ones too, as tests of their own. */
function compile(path: string): Compiled | null {
  const text = readFileSync(path, "utf8");
  // As a module or as a script: the name of a file does not always tell.
  for (const sourceType of ["module", "script"] as const) {
    const tokens: number[] = [];
    const onToken = ({ start, end }: Token): unknown => tokens.push(start, end);
    const syntax = { allowHashBang: true, allowReturnOutsideFunction: true } as const;
    try {
      const tree = parse(text, { ecmaVersion: "latest", sourceType, onToken, ...syntax });
      const code = generate(tree, { indent: "", lineEnd: "" });
      return { code, tokens: Int32Array.from(tokens) };
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
  }
  return null;
}

async function bundle(paths: readonly string[]): Promise<Results> {
  const modules: Compiled[] = [];
  for (const path of paths) {
    const module = compile(path);
    if (module !== null) modules.push(module);
    // The end of pagefold is heard between files.
    await setImmediate();
  }
  const tokens = new Int32Array(modules.reduce((sum, module) => sum + module.tokens.length, 0));
  let at = 0;
  for (const module of modules) {
    tokens.set(module.tokens, at);
    at += module.tokens.length;
  }
  const code = Buffer.from(modules.map((module) => module.code).join(""));
  return { modules: modules.length, code, tokens };
}
