// pages-simd - comparing kernels of the SIMD build, 64 bytes a turn.
import { PAGE_SIZE } from "./layout.gen";

export function equalPages(a: usize, b: usize): bool {
  for (let line: usize = 0; line < PAGE_SIZE; line += 64) {
    const p = a + line;
    const q = b + line;
    const x0 = v128.xor(v128.load(p), v128.load(q));
    const x1 = v128.xor(v128.load(p, 16), v128.load(q, 16));
    const x2 = v128.xor(v128.load(p, 32), v128.load(q, 32));
    const x3 = v128.xor(v128.load(p, 48), v128.load(q, 48));
    if (v128.any_true(v128.or(v128.or(x0, x1), v128.or(x2, x3)))) return false;
  }
  return true;
}

export function isZeroPage(page: usize): bool {
  for (let line: usize = 0; line < PAGE_SIZE; line += 64) {
    const p = page + line;
    const low = v128.or(v128.load(p), v128.load(p, 16));
    const high = v128.or(v128.load(p, 32), v128.load(p, 48));
    if (v128.any_true(v128.or(low, high))) return false;
  }
  return true;
}
