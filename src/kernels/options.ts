/**
 * options - which kernels and which hash an engine uses: the user's choice, made into a value that
 * workers can be given.
 */
import { PagefoldError } from "../base/errors.js";
import { compileKernels, type WasmSupport, wasmSupport } from "./modules.js";

const KERNEL_IMPLEMENTATIONS = ["simd", "scalar", "typescript", "xxhash-wasm"] as const;
/**
 * `simd` and `scalar` are pagefold's own WebAssembly; `typescript` needs none; `xxhash-wasm` hashes
 * with the package of that name (it copies every page) and is there to compare with.
 */
export type KernelImplementation = (typeof KERNEL_IMPLEMENTATIONS)[number];

export const HASH_NAMES = ["xxh3-64", "xxh64"] as const;
/** 64 bits of XXH3 or of XXH64; `xxhash-wasm` has the latter alone. */
export type HashName = (typeof HASH_NAMES)[number];

/** Low and high 32 bits, as int32 words. */
export type Seed = readonly [low: number, high: number];

export interface KernelOptions {
  /** Default "auto": simd, or scalar where WebAssembly has no SIMD. */
  readonly kernels?: KernelImplementation | "auto" | undefined;
  /** Default "auto": xxh3-64, but xxh64 with xxhash-wasm, which has no other. */
  readonly hash?: HashName | "auto" | undefined;
  /** Default 0. An engine whose guests might craft collisions draws it at random. */
  readonly seed?: Seed | undefined;
  /** For tests: keeps this many bits of the hash, 1 to 64. Default 64. */
  readonly hashBits?: number | undefined;
}

/** A compiled WebAssembly.Module; named here because the library's types must not ask for the DOM's. */
export type KernelModule = object;

/** A resolved choice; structured-cloneable, so that every worker uses the same compiled module. */
export interface KernelSpec {
  readonly implementation: KernelImplementation;
  readonly hash: HashName;
  readonly seed: Seed;
  /** Bits of the hash that are kept; less than 64 only in tests of what equal hashes do. */
  readonly hashBits: number;
  /** Set for simd and scalar. */
  readonly module?: KernelModule;
}

/** Throws PAGEFOLD_BAD_OPTION, or PAGEFOLD_BAD_WASM where the choice cannot run. */
export function resolveKernels(
  options: KernelOptions = {},
  support: WasmSupport = wasmSupport(),
): KernelSpec {
  const choice = oneOf("kernels", options.kernels, KERNEL_IMPLEMENTATIONS);
  const implementation = choice === "auto" ? (support.simd ? "simd" : "scalar") : choice;
  const hash = resolveHash(implementation, oneOf("hash", options.hash, HASH_NAMES));
  const seed = resolveSeed(options.seed);
  const hashBits = options.hashBits ?? 64;
  if (implementation !== "simd" && implementation !== "scalar") {
    return { implementation, hash, seed, hashBits };
  }
  const module = compileKernels(implementation, support);
  return { implementation, hash, seed, hashBits, module };
}

function oneOf<T extends string>(
  option: string,
  value: T | "auto" | undefined,
  names: readonly T[],
): T | "auto" {
  if (value === undefined || value === "auto") return "auto";
  if (names.includes(value)) return value;
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    `${option} must be one of ${["auto", ...names].join(", ")}, not ${JSON.stringify(value)}`,
    { option, value, accepted: ["auto", ...names] },
  );
}

function resolveHash(implementation: KernelImplementation, hash: HashName | "auto"): HashName {
  const only = implementation === "xxhash-wasm" ? "xxh64" : undefined;
  if (hash === "auto") return only ?? "xxh3-64";
  if (only !== undefined && hash !== only) {
    throw new PagefoldError(
      "PAGEFOLD_BAD_OPTION",
      `hash ${hash} is not in kernels ${implementation}: choose hash ${only}, or other kernels`,
      { option: "hash", value: hash, accepted: ["auto", only] },
    );
  }
  return hash;
}

function resolveSeed(seed: Seed | undefined): Seed {
  if (seed === undefined) return [0, 0];
  const isWord = (value: unknown): boolean => typeof value === "number" && (value | 0) === value;
  if (Array.isArray(seed) && seed.length === 2 && seed.every(isWord)) return [seed[0], seed[1]];
  throw new PagefoldError(
    "PAGEFOLD_BAD_OPTION",
    "seed must be two int32 words, the low and the high half",
    { option: "seed", value: seed },
  );
}
