// pages-scalar - comparing kernels of the build without SIMD, 32 bytes a turn.
import { PAGE_SIZE } from "./layout.gen";

export function equalPages(a: usize, b: usize): bool {
  for (let line: usize = 0; line < PAGE_SIZE; line += 32) {
    const p = a + line;
    const q = b + line;
    const x0 = load<u64>(p) ^ load<u64>(q);
    const x1 = load<u64>(p, 8) ^ load<u64>(q, 8);
    const x2 = load<u64>(p, 16) ^ load<u64>(q, 16);
    const x3 = load<u64>(p, 24) ^ load<u64>(q, 24);
    if ((x0 | x1 | x2 | x3) != 0) return false;
  }
  return true;
}

export function isZeroPage(page: usize): bool {
  for (let line: usize = 0; line < PAGE_SIZE; line += 32) {
    const p = page + line;
    if ((load<u64>(p) | load<u64>(p, 8) | load<u64>(p, 16) | load<u64>(p, 24)) != 0) return false;
  }
  return true;
}
