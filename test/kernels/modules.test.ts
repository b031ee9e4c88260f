/** The compiled modules themselves, and what is chosen where. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, test } from "vitest";
import { ERROR_CODES, PagefoldError } from "../../src/base/errors.ts";
import { compileFile, wasmSupport } from "../../src/kernels/modules.ts";
import { type KernelOptions, resolveKernels } from "../../src/kernels/options.ts";
import { prepareKernels } from "../../src/kernels/prepare.ts";
import { createMachine } from "./machine.ts";

/** What the declarations of src/wasm.d.ts leave out, because only tests use it. */
const { Module, CompileError } = WebAssembly as unknown as {
  Module: {
    imports(module: unknown): { module: string; name: string; kind: string }[];
    exports(module: unknown): { name: string; kind: string }[];
  };
  CompileError: new () => Error;
};

const FULL = { threads: true, simd: true };

function caught(action: () => unknown): PagefoldError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(PagefoldError);
    return error as PagefoldError;
  }
  throw new Error("nothing was thrown");
}

describe("resolveKernels", () => {
  test("chooses simd and xxh3-64 by default", () => {
    const spec = resolveKernels({}, FULL);
    expect(spec).toMatchObject({ implementation: "simd", hash: "xxh3-64", seed: [0, 0] });
    expect(spec.module).toBeInstanceOf(WebAssembly.Module);
    expect(resolveKernels({ kernels: "auto", hash: "auto" }, FULL)).toEqual(spec);
  });

  test("chooses scalar where SIMD is absent", () => {
    const spec = resolveKernels({}, { threads: true, simd: false });
    expect(spec.implementation).toBe("scalar");
    expect(Module.exports(spec.module)).not.toHaveLength(0);
  });

  test("xxhash-wasm implies xxh64; the others take either hash", () => {
    expect(resolveKernels({ kernels: "xxhash-wasm" })).toEqual({
      implementation: "xxhash-wasm",
      hashBits: 64,
      hash: "xxh64",
      seed: [0, 0],
    });
    for (const kernels of ["simd", "scalar", "typescript"] as const) {
      expect(resolveKernels({ kernels, hash: "xxh64" }, FULL).hash).toBe("xxh64");
    }
  });

  const WRONG: readonly [string, unknown][] = [
    ["an unknown implementation", { kernels: "avx" }],
    ["an unknown hash", { hash: "md5" }],
    ["xxh3-64 with xxhash-wasm", { kernels: "xxhash-wasm", hash: "xxh3-64" }],
    ["a seed of one word", { seed: [1] }],
    ["a seed that is no int32", { seed: [0, 2 ** 31] }],
    ["a seed that is a number", { seed: 5 }],
    ["null", { kernels: null }],
  ];
  test.each(WRONG)("%s is a bad option", (_, options) => {
    const error = caught(() => resolveKernels(options as KernelOptions, FULL));
    expect(error.code).toBe("PAGEFOLD_BAD_OPTION");
    expect(error.details.option).toBeDefined();
  });

  test("simd without SIMD, or anything compiled without threads, cannot run", () => {
    const noSimd = caught(() =>
      resolveKernels({ kernels: "simd" }, { threads: true, simd: false }),
    );
    expect(noSimd.code).toBe("PAGEFOLD_BAD_WASM");
    expect(noSimd.details.mend).toContain("scalar");
    const nothing = { threads: false, simd: false };
    expect(caught(() => resolveKernels({}, nothing)).code).toBe("PAGEFOLD_BAD_WASM");
    expect(resolveKernels({ kernels: "typescript" }, nothing).implementation).toBe("typescript");
  });

  test("the spec survives a structured clone", async () => {
    const spec = structuredClone(resolveKernels({ seed: [3, -4] }, FULL));
    expect(spec.seed).toEqual([3, -4]);
    expect(await prepareKernels(spec)).toBeTypeOf("function");
  });

  test("a spec that lost its module is refused", async () => {
    const { module: _, ...spec } = resolveKernels({}, FULL);
    await expect(prepareKernels(spec)).rejects.toMatchObject({ code: "PAGEFOLD_BAD_WASM" });
  });
});

describe("compileFile", () => {
  const folder = mkdtempSync(join(tmpdir(), "pagefold-kernels-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  const url = pathToFileURL(`${folder}/`);

  test("says how to mend a missing file", () => {
    const error = caught(() => compileFile("simd", "pagefold.simd.wasm", [url]));
    expect(error.code).toBe("PAGEFOLD_BAD_WASM");
    expect(error.details.mend).toContain("build:wasm");
    expect(ERROR_CODES).toHaveProperty(error.code);
  });

  test("reports a file that is no WebAssembly, with its cause", () => {
    writeFileSync(join(folder, "broken.wasm"), "not wasm");
    const error = caught(() => compileFile("simd", "broken.wasm", [url]));
    expect(error.code).toBe("PAGEFOLD_BAD_WASM");
    expect(error.cause).toBeInstanceOf(CompileError);
  });
});

/** Ids of the sections of a WebAssembly binary. */
function sections(bytes: Uint8Array): number[] {
  const ids: number[] = [];
  for (let at = 8; at < bytes.length; ) {
    ids.push(bytes[at++]);
    let size = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = bytes[at++];
      size |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    at += size;
  }
  return ids;
}

describe.each(["simd", "scalar"] as const)("pagefold.%s.wasm", (name) => {
  const bytes = readFileSync(new URL(`../../dist/kernels/pagefold.${name}.wasm`, import.meta.url));

  test("writes nothing when it is instantiated: no data, no start function", () => {
    const ids = sections(bytes);
    expect(ids).toContain(10);
    for (const forbidden of [8, 11, 12]) expect(ids).not.toContain(forbidden);
  });

  test("imports the memory alone, of any size, and returns no 64-bit integer", async () => {
    const module = new WebAssembly.Module(bytes);
    expect(Module.imports(module)).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
    for (const pages of [1, 16, 1040, 20000]) {
      const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
      const exports = new WebAssembly.Instance(module, { env: { memory } }).exports;
      expect(Object.keys(exports).sort()).toEqual([
        "copyPage",
        "equalPages",
        "hashBatch",
        "isZeroPage",
        "setSeed",
        "zeroPage",
      ]);
    }
  });
});

test("this runtime has what Node 20 has", () => {
  expect(wasmSupport()).toEqual(FULL);
});

test("two threads' kernels share a block and keep apart", async () => {
  const memory = await createMachine({ kernels: "simd" });
  const spec = resolveKernels({ kernels: "scalar" });
  const factory = await prepareKernels(spec);
  const { framesPerBlockShift } = memory.sizes;
  const other = factory(memory.blocks, memory.blockLayout, framesPerBlockShift, 2);
  const pfns = Int32Array.from({ length: 300 }, (_, i) => i % 256);
  const hashes = [new Int32Array(600), new Int32Array(600)];
  memory.kernels.hashPages(pfns, 300, hashes[0]);
  other.hashPages(pfns, 300, hashes[1]);
  expect(hashes[0]).toEqual(hashes[1]);
});
