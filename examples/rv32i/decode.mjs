/**
 * decode - the fields of an RV32I instruction word. Immediates are sign-extended from bit 31.
 */
export const opcode = (word) => word & 0x7f;
export const rd = (word) => (word >> 7) & 31;
export const funct3 = (word) => (word >> 12) & 7;
export const rs1 = (word) => (word >> 15) & 31;
export const rs2 = (word) => (word >> 20) & 31;
export const funct7 = (word) => word >>> 25;

/** Loads, JALR, register-immediate. */
export const immI = (word) => word >> 20;
/** Stores. */
export const immS = (word) => ((word >> 25) << 5) | ((word >> 7) & 31);
/** LUI, AUIPC. */
export const immU = (word) => word & 0xfffff000;
/** Branches: bits 12, 11, 10..5, 4..1; even. */
export const immB = (word) =>
  ((word >> 31) << 12) | ((word << 4) & 0x800) | ((word >> 20) & 0x7e0) | ((word >> 7) & 0x1e);
/** JAL: bits 20, 19..12, 11, 10..1; even. */
export const immJ = (word) =>
  ((word >> 31) << 20) | (word & 0xff000) | ((word >> 9) & 0x800) | ((word >> 20) & 0x7fe);
