/** The types of the installed package, as every way of resolving modules that knows `exports` sees them. */
import fs from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";
import { command } from "./command.ts";
import { installed, ROOT } from "./packed.ts";

const CONSUMERS = fileURLToPath(new URL("./consumer", import.meta.url));
const TSC = join(ROOT, "node_modules/typescript/bin/tsc");

/** Neither the DOM nor any global types; every declaration that is read is checked as well. */
const COMPILER_OPTIONS = {
  ...{ noEmit: true, strict: true, exactOptionalPropertyTypes: true, verbatimModuleSyntax: true },
  ...{ target: "es2022", lib: ["es2022", "esnext.disposable"], types: [], skipLibCheck: false },
};

const ESM = ["consumer.mts"];

/** Before nodenext TypeScript holds that no CommonJS file can require ESM. */
const RESOLUTIONS = [
  { module: "node16", moduleResolution: "node16", files: ESM },
  { module: "nodenext", moduleResolution: "nodenext", files: [...ESM, "consumer.cts"] },
  { module: "esnext", moduleResolution: "bundler", files: ESM },
];

describe("an embedder's TypeScript", () => {
  beforeAll(async () => {
    const app = await installed();
    const modules = join(app, "node_modules");
    fs.mkdirSync(join(modules, "@types"));
    fs.symlinkSync(join(ROOT, "node_modules/@types/node"), join(modules, "@types/node"));
    fs.cpSync(CONSUMERS, app, { recursive: true });
  });

  it.each(RESOLUTIONS)(
    "compiles with $module, $moduleResolution",
    async ({ files, ...resolution }) => {
      const app = await installed();
      const compilerOptions = { ...COMPILER_OPTIONS, ...resolution };
      const project = JSON.stringify({ compilerOptions, files });
      fs.writeFileSync(join(app, "tsconfig.json"), project);
      const result = await command(process.execPath, [TSC, "-p", "."], app);
      expect(result).toEqual({ status: 0, stdout: "", stderr: "" });
    },
  );
});
