// roofline - reads memory as fast as WebAssembly can, and does nothing with it: AssemblyScript.

/** Reads `bytes` (a multiple of 128) from `from` on; the result depends on all of them. */
export function readBytes(from: usize, bytes: usize): i32 {
  let a = i64x2.splat(0);
  let b = i64x2.splat(0);
  let c = i64x2.splat(0);
  let d = i64x2.splat(0);
  for (let at = from, end = from + bytes; at < end; at += 128) {
    a = v128.xor(a, v128.xor(v128.load(at), v128.load(at, 16)));
    b = v128.xor(b, v128.xor(v128.load(at, 32), v128.load(at, 48)));
    c = v128.xor(c, v128.xor(v128.load(at, 64), v128.load(at, 80)));
    d = v128.xor(d, v128.xor(v128.load(at, 96), v128.load(at, 112)));
  }
  const all = v128.xor(v128.xor(a, b), v128.xor(c, d));
  return i32(i64x2.extract_lane(all, 0) ^ i64x2.extract_lane(all, 1));
}
