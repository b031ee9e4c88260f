/**
 * prepare - from a KernelSpec to the kernels of a thread's view of the memories.
 */
import { PagefoldError } from "../base/errors.js";
import type { BlockLayout } from "../base/layout.js";
import type { Block } from "../base/memory.js";
import type { PageKernels } from "../base/page-kernels.js";
import type { ThreadId } from "../base/units.js";
import type { KernelSpec } from "./options.js";
import { type HashPage, PlainKernels } from "./plain-kernels.js";
import { WasmKernels } from "./wasm-kernels.js";
import { createXxh3 } from "./xxh3.js";
import { createXxh64 } from "./xxh64.js";
import { createXxhashWasm } from "./xxhash-wasm-kernels.js";

/** Makes the kernels of one thread; attachMemory passes all but the thread. `blocks` may grow later. */
type KernelFactory = (
  blocks: readonly (Block | null)[],
  layout: BlockLayout,
  framesPerBlockShift: number,
  thread: ThreadId,
) => PageKernels;

/** Loads what the kernels need; the factory it resolves to is synchronous. */
export async function prepareKernels(spec: KernelSpec): Promise<KernelFactory> {
  const factory = await prepareFactory(spec);
  if (spec.hashBits >= 64) return factory;
  return (...args) => cutHashes(factory(...args), spec.hashBits);
}

/** The same kernels with a poor hash, so that different contents have equal ones. */
function cutHashes(kernels: PageKernels, bits: number): PageKernels {
  const low = bits >= 32 ? -1 : (1 << bits) - 1;
  const high = bits <= 32 ? 0 : (1 << (bits - 32)) - 1;
  return {
    copyPage: (target, source) => kernels.copyPage(target, source),
    zeroPage: (pfn) => kernels.zeroPage(pfn),
    equalPages: (a, b) => kernels.equalPages(a, b),
    isZeroPage: (pfn) => kernels.isZeroPage(pfn),
    forgetBlock: (block) => kernels.forgetBlock(block),
    hashPages(pfns, count, hashes) {
      kernels.hashPages(pfns, count, hashes);
      for (let i = 0; i < count; i++) {
        hashes[2 * i] = (hashes[2 * i] as number) & low;
        hashes[2 * i + 1] = (hashes[2 * i + 1] as number) & high;
      }
    },
  };
}

async function prepareFactory(spec: KernelSpec): Promise<KernelFactory> {
  const { implementation, hash, seed } = spec;
  if (implementation === "simd" || implementation === "scalar") return wasmFactory(spec);
  if (implementation === "xxhash-wasm") {
    const hashPage = await createXxhashWasm(...seed);
    return plainFactory(() => hashPage);
  }
  const createHash = hash === "xxh3-64" ? createXxh3 : createXxh64;
  return plainFactory(() => createHash(...seed));
}

function wasmFactory(spec: KernelSpec): KernelFactory {
  const { module, hash, seed } = spec;
  if (module === undefined) {
    throw new PagefoldError(
      "PAGEFOLD_BAD_WASM",
      `kernels ${spec.implementation}: the spec has no module. Make it with resolveKernels().`,
      { implementation: spec.implementation },
    );
  }
  const code = { module, hash, seed };
  return (blocks, layout, shift, thread) => new WasmKernels(code, blocks, layout, shift, thread);
}

function plainFactory(createHash: () => HashPage): KernelFactory {
  return (blocks, layout, shift) => new PlainKernels(createHash(), blocks, layout, shift);
}

/**
 * Lets V8 optimize the kernels' module, in 5 ms. Once a process is enough: threads share the code.
 * Does nothing for kernels that are not pagefold's WebAssembly, or while there is no block.
 */
export function warmKernels(kernels: PageKernels): void {
  if (kernels instanceof WasmKernels) kernels.warm();
}
