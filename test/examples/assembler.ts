/**
 * assembler - RV32I instruction words from their operands, in assembly order. Written from the tables of the
 * ISA manual, apart from examples/rv32i/decode.mjs, which it tests.
 */

/** Bits `high` to `low` of `value`, put at bit `to`. */
function place(value: number, high: number, low: number, to: number): number {
  const width = high - low + 1;
  return ((value >>> low) & (2 ** width - 1)) << to;
}

function rType(opcode: number, funct3: number, funct7: number) {
  return (rd: number, rs1: number, rs2: number): number =>
    ((funct7 << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode) >>> 0;
}

function iType(opcode: number, funct3: number) {
  return (rd: number, rs1: number, imm: number): number =>
    (place(imm, 11, 0, 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode) >>> 0;
}

function shift(funct3: number, funct7: number) {
  return rType(0x13, funct3, funct7);
}

/** rd, offset, base: `lw rd, offset(base)`. */
function load(funct3: number) {
  return (rd: number, offset: number, base: number): number =>
    iType(0x03, funct3)(rd, base, offset);
}

/** source, offset, base: `sw source, offset(base)`. */
function store(funct3: number) {
  return (source: number, offset: number, base: number): number =>
    (place(offset, 11, 5, 25) |
      (source << 20) |
      (base << 15) |
      (funct3 << 12) |
      place(offset, 4, 0, 7) |
      0x23) >>>
    0;
}

function branch(funct3: number) {
  return (rs1: number, rs2: number, offset: number): number =>
    (place(offset, 12, 12, 31) |
      place(offset, 10, 5, 25) |
      (rs2 << 20) |
      (rs1 << 15) |
      (funct3 << 12) |
      place(offset, 4, 1, 8) |
      place(offset, 11, 11, 7) |
      0x63) >>>
    0;
}

/** rd, the upper 20 bits as a number of its own: `lui rd, 0x12345`. */
function uType(opcode: number) {
  return (rd: number, upper: number): number => ((upper << 12) | (rd << 7) | opcode) >>> 0;
}

function jal(rd: number, offset: number): number {
  const imm =
    place(offset, 20, 20, 31) |
    place(offset, 10, 1, 21) |
    place(offset, 11, 11, 20) |
    place(offset, 19, 12, 12);
  return (imm | (rd << 7) | 0x6f) >>> 0;
}

/** rd, offset, base: `jalr rd, offset(base)`. */
function jalr(rd: number, offset: number, base: number): number {
  return iType(0x67, 0)(rd, base, offset);
}

export const rv = {
  lui: uType(0x37),
  auipc: uType(0x17),
  jal,
  jalr,
  beq: branch(0),
  bne: branch(1),
  blt: branch(4),
  bge: branch(5),
  bltu: branch(6),
  bgeu: branch(7),
  lb: load(0),
  lh: load(1),
  lw: load(2),
  lbu: load(4),
  lhu: load(5),
  sb: store(0),
  sh: store(1),
  sw: store(2),
  addi: iType(0x13, 0),
  slti: iType(0x13, 2),
  sltiu: iType(0x13, 3),
  xori: iType(0x13, 4),
  ori: iType(0x13, 6),
  andi: iType(0x13, 7),
  slli: shift(1, 0),
  srli: shift(5, 0),
  srai: shift(5, 0x20),
  add: rType(0x33, 0, 0),
  sub: rType(0x33, 0, 0x20),
  sll: rType(0x33, 1, 0),
  slt: rType(0x33, 2, 0),
  sltu: rType(0x33, 3, 0),
  xor: rType(0x33, 4, 0),
  srl: rType(0x33, 5, 0),
  sra: rType(0x33, 5, 0x20),
  or: rType(0x33, 6, 0),
  and: rType(0x33, 7, 0),
  fence: (): number => 0x0ff0000f,
  ecall: (): number => 0x00000073,
  ebreak: (): number => 0x00100073,
};

/** What LLVM's assembler (14.0.6) makes of each instruction. */
export const GOLDEN: readonly (readonly [string, number, number])[] = [
  ["lui x5, 0x12345", rv.lui(5, 0x12345), 0x123452b7],
  ["auipc x6, 0xfffff", rv.auipc(6, 0xfffff), 0xfffff317],
  ["jal x1, 2048", rv.jal(1, 2048), 0x001000ef],
  ["jal x0, -1048576", rv.jal(0, -1048576), 0x8000006f],
  ["jalr x1, -4(x10)", rv.jalr(1, -4, 10), 0xffc500e7],
  ["beq x5, x6, 16", rv.beq(5, 6, 16), 0x00628863],
  ["bne x5, x6, -4096", rv.bne(5, 6, -4096), 0x80629063],
  ["blt x5, x6, 4094", rv.blt(5, 6, 4094), 0x7e62cfe3],
  ["bge x5, x6, -2", rv.bge(5, 6, -2), 0xfe62dfe3],
  ["bltu x31, x1, 2048", rv.bltu(31, 1, 2048), 0x001fe0e3],
  ["bgeu x5, x6, -2048", rv.bgeu(5, 6, -2048), 0x8062f0e3],
  ["lb x7, -1(x8)", rv.lb(7, -1, 8), 0xfff40383],
  ["lh x7, 2(x8)", rv.lh(7, 2, 8), 0x00241383],
  ["lw x7, 2047(x8)", rv.lw(7, 2047, 8), 0x7ff42383],
  ["lbu x7, -2048(x8)", rv.lbu(7, -2048, 8), 0x80044383],
  ["lhu x7, 0(x8)", rv.lhu(7, 0, 8), 0x00045383],
  ["sb x9, -1(x8)", rv.sb(9, -1, 8), 0xfe940fa3],
  ["sh x9, 2(x8)", rv.sh(9, 2, 8), 0x00941123],
  ["sw x9, -2048(x8)", rv.sw(9, -2048, 8), 0x80942023],
  ["addi x5, x6, -1", rv.addi(5, 6, -1), 0xfff30293],
  ["slti x5, x6, 2047", rv.slti(5, 6, 2047), 0x7ff32293],
  ["sltiu x5, x6, -2048", rv.sltiu(5, 6, -2048), 0x80033293],
  ["xori x5, x6, 1365", rv.xori(5, 6, 1365), 0x55534293],
  ["ori x5, x6, -1366", rv.ori(5, 6, -1366), 0xaaa36293],
  ["andi x5, x6, 255", rv.andi(5, 6, 255), 0x0ff37293],
  ["slli x5, x6, 31", rv.slli(5, 6, 31), 0x01f31293],
  ["srli x5, x6, 1", rv.srli(5, 6, 1), 0x00135293],
  ["srai x5, x6, 31", rv.srai(5, 6, 31), 0x41f35293],
  ["add x5, x6, x7", rv.add(5, 6, 7), 0x007302b3],
  ["sub x5, x6, x7", rv.sub(5, 6, 7), 0x407302b3],
  ["sll x5, x6, x7", rv.sll(5, 6, 7), 0x007312b3],
  ["slt x5, x6, x7", rv.slt(5, 6, 7), 0x007322b3],
  ["sltu x5, x6, x7", rv.sltu(5, 6, 7), 0x007332b3],
  ["xor x5, x6, x7", rv.xor(5, 6, 7), 0x007342b3],
  ["srl x5, x6, x7", rv.srl(5, 6, 7), 0x007352b3],
  ["sra x29, x30, x31", rv.sra(29, 30, 31), 0x41ff5eb3],
  ["or x5, x6, x7", rv.or(5, 6, 7), 0x007362b3],
  ["and x5, x6, x7", rv.and(5, 6, 7), 0x007372b3],
  ["fence iorw, iorw", rv.fence(), 0x0ff0000f],
  ["ecall", rv.ecall(), 0x00000073],
  ["ebreak", rv.ebreak(), 0x00100073],
];
