/**
 * Which kernels "auto" is: simd, or scalar where WebAssembly has no SIMD. A leg of CI runs whole suites in such
 * a runtime and says so by PAGEFOLD_TEST_KERNELS; here it is made sure that they then run what it says.
 */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createEngine } from "../../dist/index.js";
import { command } from "./command.ts";
import { ROOT } from "./packed.ts";

const MAIN = join(ROOT, "dist/cli/main.js");
const NO_SIMD = join(ROOT, ".ci/no-simd.mjs");
const EXPECTED = process.env.PAGEFOLD_TEST_KERNELS ?? "simd";

/** The kernels that a run of the command has used. */
async function kernelsOf(
  flags: readonly string[],
  environment?: NodeJS.ProcessEnv,
): Promise<string> {
  const args = [...flags, MAIN, "run", "synth:pages=64", "--json"];
  const { status, stdout } = await command(process.execPath, args, ROOT, environment);
  expect(status).toBe(0);
  return JSON.parse(stdout).kernels;
}

describe("kernels auto", () => {
  it(`are ${EXPECTED} in this process, and in those that it starts`, async () => {
    const engine = await createEngine({ workers: false });
    expect(engine.handle.kernels.implementation).toBe(EXPECTED);
    await engine.close();
    expect(await kernelsOf([])).toBe(EXPECTED);
  });

  it("are scalar in the runtime that the leg of CI makes", async () => {
    const environment = { ...process.env, NODE_OPTIONS: `--import "${NO_SIMD}"` };
    expect(await kernelsOf([], environment)).toBe("scalar");
  });

  // These flags of V8 are those of x64, where its SIMD needs instructions that old processors lack.
  it.runIf(process.arch === "x64")("are scalar where V8 itself has no SIMD", async () => {
    expect(await kernelsOf(["--no-enable-ssse3", "--no-enable-sse4-1"])).toBe("scalar");
  });
});
