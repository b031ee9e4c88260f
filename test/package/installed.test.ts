/** The package where it is installed: the command, the module in both systems of modules. */
import fs from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { command } from "./command.ts";
import { installed, MANIFEST, temporary } from "./packed.ts";

const FOLD = ["run", "synth:pages=1000,guests=2", "--json"];

/** npx, which else repeats what it thinks of the user's configuration. */
const QUIET = ["--loglevel=error", "pagefold"];

/** What a clean run of FOLD says. */
function expectFolded({ status, stdout, stderr }: Awaited<ReturnType<typeof command>>): void {
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const document = JSON.parse(stdout);
  expect(document).toMatchObject({ pages: 2000, check: "clean", settled: true });
  expect(document.verify).toMatchObject({ pages: 2000, mismatches: 0 });
}

/** A folder with nothing in it but these commands. */
function folderOf(names: readonly string[]): string {
  const folder = temporary();
  for (const name of names) {
    const found = (process.env.PATH ?? "")
      .split(":")
      .map((each) => join(each, name))
      .find((path) => fs.existsSync(path));
    if (found === undefined) throw new Error(`${name} is not on the PATH`);
    fs.symlinkSync(fs.realpathSync(found), join(folder, name));
  }
  return folder;
}

describe("the command", () => {
  it("runs by npx", async () => {
    const app = await installed();
    expect(await command("npx", [...QUIET, "--version"], app)).toMatchObject({
      status: 0,
      stdout: `${MANIFEST.version}\n`,
    });
    expectFolded(await command(join(app, "node_modules/.bin/pagefold"), FOLD, app));
  });

  it("runs in an environment of nothing but a PATH, with node and npm on it", async () => {
    const app = await installed();
    const PATH = folderOf(["node", "npm"]);
    expectFolded(await command("node_modules/.bin/pagefold", FOLD, app, { PATH }));
    // npx starts what it finds through a shell.
    const withShell = folderOf(["node", "npm", "npx", "sh"]);
    expectFolded(await command("npx", [...QUIET, ...FOLD], app, { PATH: withShell }));
  });

  it("folds something by itself, when it is told no source", async () => {
    const app = await installed();
    const PATH = folderOf(["node", "npm"]);
    const run = ["run", "--json", "--quiet"];
    const { status, stdout } = await command("node_modules/.bin/pagefold", run, app, { PATH });
    expect(status).toBe(0);
    const { guests, verify, check, saved_bytes } = JSON.parse(stdout);
    expect({ check, mismatches: verify.mismatches }).toEqual({ check: "clean", mismatches: 0 });
    expect(guests.length).toBeGreaterThan(0);
    expect(saved_bytes).toBeGreaterThan(0);
  });
});

const EXPORTS = [
  ...["AttachedEngine", "ERROR_CODES", "Engine", "Guest", "InvariantError", "PAGE_SIZE"],
  ...["PagefoldError", "attachEngine", "createEngine"],
];

/** What both kinds of consumers do, given the module as `pagefold`. */
const FOLD_TWO_GUESTS = `
  const engine = await pagefold.createEngine({ ksm: { run: 1 }, memoryPerNode: 1 << 20 });
  for (let guest = 0; guest < 2; guest++) engine.createGuest({ bytes: 65536 }).fill(0, 65536, 7);
  const { pages_sharing } = await engine.ksm.scan(2);
  await engine.close();
  console.log(JSON.stringify({ names: Object.keys(pagefold).sort(), pages_sharing }));
`;
const FOLDED = { names: EXPORTS.sort(), pages_sharing: 31 };

describe("the module", () => {
  it("is imported", async () => {
    const app = await installed();
    const code = `import * as pagefold from "pagefold"; ${FOLD_TWO_GUESTS}`;
    const result = await command("node", ["--input-type=module", "-e", code], app);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(result.stdout)).toEqual(FOLDED);
  });

  // Node 20 from 20.19 on, 22 from 22.12 on. A module that awaited while it loads would be refused.
  const requires = (process.features as { require_module?: boolean }).require_module === true;
  it.skipIf(!requires)("is required, where Node allows that", async () => {
    const app = await installed();
    const code = `const pagefold = require("pagefold"); (async () => {${FOLD_TWO_GUESTS}})();`;
    const result = await command("node", ["-e", code], app);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(result.stdout)).toEqual(FOLDED);
  });

  it("has its schema and its manifest beside it, and nothing else", async () => {
    const resolver = createRequire(join(await installed(), "app.js"));
    expect(resolver("pagefold/package.json").version).toBe(MANIFEST.version);
    for (const name of ["run", "stress"]) {
      expect(resolver(`pagefold/${name}.schema.json`).$schema).toMatch(/2020-12/);
    }
    expect(() => resolver.resolve("pagefold/dist/index.js")).toThrow(
      expect.objectContaining({ code: "ERR_PACKAGE_PATH_NOT_EXPORTED" }),
    );
  });
});
