/**
 * elf - reads an executable for 32-bit little-endian RISC-V: which bytes go where, and where it begins.
 */
const PT_LOAD = 1;
const EM_RISCV = 243;
const ET_EXEC = 2;
const PROGRAM_HEADER_BYTES = 32;

/**
 * @param {Uint8Array} file
 * @returns {{ entry: number, end: number, segments: { address: number, bytes: Uint8Array }[] }}
 *   `end`: the first address after everything, memory that begins as zeros included
 */
export function parseElf(file) {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  // Magic; 32 bits; little-endian.
  const identified = file.length >= 52 && view.getUint32(0) === 0x7f454c46;
  if (!identified || file[4] !== 1 || file[5] !== 1) throw new Error("not a 32-bit ELF file");
  if (view.getUint16(16, true) !== ET_EXEC || view.getUint16(18, true) !== EM_RISCV) {
    throw new Error("not a static RISC-V executable; link it with -static");
  }
  const first = view.getUint32(28, true);
  const count = view.getUint16(44, true);
  const segments = [];
  let end = 0;
  for (let at = first; at < first + count * PROGRAM_HEADER_BYTES; at += PROGRAM_HEADER_BYTES) {
    const [type, offset, address, , inFile, inMemory] = words(view, at);
    if (type !== PT_LOAD) continue;
    segments.push({ address, bytes: file.subarray(offset, offset + inFile) });
    end = Math.max(end, address + inMemory);
  }
  return { entry: view.getUint32(24, true), end, segments };
}

function words(view, at) {
  return Array.from({ length: 6 }, (_, i) => view.getUint32(at + 4 * i, true));
}
