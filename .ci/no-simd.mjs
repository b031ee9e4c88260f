/**
 * no-simd - imported before everything else, it makes a runtime whose WebAssembly has no SIMD, as far as anybody
 * can ask: pagefold then picks its scalar kernels. Processes that are started inherit it with NODE_OPTIONS.
 */
const SIMD_PREFIX = 0xfd;
const { validate } = WebAssembly;

/** Takes any such byte for an instruction of SIMD, so it may refuse more than it must. */
WebAssembly.validate = (source) => {
  const bytes = ArrayBuffer.isView(source)
    ? new Uint8Array(source.buffer, source.byteOffset, source.byteLength)
    : new Uint8Array(source);
  return !bytes.includes(SIMD_PREFIX) && validate(bytes);
};
