/**
 * alu - integer computations and comparisons of RV32I, on signed 32-bit words.
 */

/** funct7 of SUB and of the arithmetic right shifts; all others have 0. */
const ALTERNATE = 0x20;

/** Do these fields name a computation? Only addition and right shifts have an alternate. */
export function isComputation(funct3, funct7) {
  return funct7 === 0 || (funct7 === ALTERNATE && (funct3 === 0 || funct3 === 5));
}

export function compute(funct3, funct7, a, b) {
  switch (funct3) {
    case 0:
      return (funct7 === ALTERNATE ? a - b : a + b) | 0;
    case 1: // JavaScript's shifts, like these, look at the low five bits of the amount.
      return a << b;
    case 2:
      return a < b ? 1 : 0;
    case 3:
      return a >>> 0 < b >>> 0 ? 1 : 0;
    case 4:
      return a ^ b;
    case 5:
      return funct7 === ALTERNATE ? a >> b : (a >>> b) | 0;
    case 6:
      return a | b;
    default:
      return a & b;
  }
}

/** funct3 is 0, 1 or 4 to 7. */
export function branchIsTaken(funct3, a, b) {
  switch (funct3) {
    case 0: // BEQ
      return a === b;
    case 1: // BNE
      return a !== b;
    case 4: // BLT
      return a < b;
    case 5: // BGE
      return a >= b;
    case 6: // BLTU
      return a >>> 0 < b >>> 0;
    default: // BGEU
      return a >>> 0 >= b >>> 0;
  }
}
