/**
 * modules - finds and compiles pagefold's WebAssembly kernels, and says what this runtime can run.
 */
import { readFileSync } from "node:fs";
import { PagefoldError } from "../base/errors.js";
import type { KernelModule } from "./options.js";

/** What of WebAssembly this runtime has. Every engine needs `threads`: its memories are shared. */
export interface WasmSupport {
  readonly threads: boolean;
  readonly simd: boolean;
}

const HEADER = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
/** (module (memory 1 1 shared)) */
const THREADS_PROBE = Uint8Array.of(...HEADER, 0x05, 0x04, 0x01, 0x03, 0x01, 0x01);
/** (module (func (drop (i64x2.splat (i64.const 0))))) */
const SIMD_PROBE = Uint8Array.of(
  ...HEADER,
  ...[0x01, 0x04, 0x01, 0x60, 0x00, 0x00],
  ...[0x03, 0x02, 0x01, 0x00],
  ...[0x0a, 0x09, 0x01, 0x07, 0x00, 0x42, 0x00, 0xfd, 0x12, 0x1a, 0x0b],
);

export function wasmSupport(): WasmSupport {
  if (typeof WebAssembly === "undefined") return { threads: false, simd: false };
  return {
    threads: WebAssembly.validate(THREADS_PROBE),
    simd: WebAssembly.validate(SIMD_PROBE),
  };
}

/** Next to the built code, and, for the sources run in place, where the build puts it. */
const FOLDERS = ["./", "../../dist/kernels/"].map((folder) => new URL(folder, import.meta.url));

const compiled = new Map<string, KernelModule>();

/** The compiled module of an implementation; compiled once a thread. Throws PAGEFOLD_BAD_WASM. */
export function compileKernels(
  implementation: "simd" | "scalar",
  support: WasmSupport,
): KernelModule {
  if (!support.threads) {
    throw badWasm(
      implementation,
      "this runtime has no shared WebAssembly memories",
      "Use Node 20+.",
    );
  }
  if (implementation === "simd" && !support.simd) {
    throw badWasm(implementation, "this runtime has no WebAssembly SIMD", "Choose kernels scalar.");
  }
  let module = compiled.get(implementation);
  if (module === undefined) {
    module = compileFile(implementation, `pagefold.${implementation}.wasm`, FOLDERS);
    compiled.set(implementation, module);
  }
  return module;
}

const REBUILD = "Build it with `npm run build:wasm`, or choose kernels typescript.";

/** Compiles the first file of that name that can be read. */
export function compileFile(
  implementation: string,
  name: string,
  folders: readonly URL[],
): KernelModule {
  for (const folder of folders) {
    const bytes = readIfThere(new URL(name, folder));
    if (bytes === undefined) continue;
    try {
      return new WebAssembly.Module(bytes);
    } catch (cause) {
      throw badWasm(implementation, `${name} does not compile`, REBUILD, { cause });
    }
  }
  throw badWasm(implementation, `${name} was not found`, REBUILD);
}

function readIfThere(file: URL): Uint8Array | undefined {
  try {
    return readFileSync(file);
  } catch {
    return undefined;
  }
}

function badWasm(
  implementation: string,
  reason: string,
  mend: string,
  options?: ErrorOptions,
): PagefoldError {
  const message = `kernels ${implementation}: ${reason}. ${mend}`;
  return new PagefoldError("PAGEFOLD_BAD_WASM", message, { implementation, reason, mend }, options);
}
