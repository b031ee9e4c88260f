/** Every instruction of RV32I in the example emulator: exact results, at the edges above all. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest, type Vcpu } from "../../dist/index.js";
import { GOLDEN, rv } from "./assembler.js";
import { BYTES, CODE, DATA, execute, type Start, type Stop } from "./hart.js";

const MIN = -0x80000000;
const MAX = 0x7fffffff;

let engine: Engine;
let guest: EngineGuest;
let vcpu: Vcpu;
beforeAll(async () => {
  engine = await createEngine({ workers: false, memoryPerNode: 2 ** 20 });
  guest = engine.createGuest({ bytes: BYTES });
  vcpu = guest.vcpu();
});
afterAll(() => engine.close());

const run = (start: Start): Stop => execute(guest, vcpu, start);

/** One instruction that must not trap. */
function one(word: number, x: Record<number, number> = {}, data: number[] = []): Stop {
  const stop = run({ code: [word], x, data });
  expect(stop.trap).toBeNull();
  expect(stop.retired).toBe(1);
  return stop;
}

it.each(GOLDEN)("the tests' assembler: %s", (_, word, golden) => {
  expect(word.toString(16)).toBe(golden.toString(16));
});

type Row = readonly [name: keyof typeof rv, a: number, b: number, result: number];

const REGISTERS: readonly Row[] = [
  ["add", 1, 2, 3],
  ["add", MAX, 1, MIN],
  ["add", MIN, -1, MAX],
  ["add", -1, 1, 0],
  ["sub", 0, 1, -1],
  ["sub", MIN, 1, MAX],
  ["sub", 0, MIN, MIN],
  ["sll", 1, 31, MIN],
  ["sll", -1, 1, -2],
  ["sll", 1, 32, 1],
  ["sll", 1, -31, 2],
  ["slt", -1, 1, 1],
  ["slt", 1, -1, 0],
  ["slt", 7, 7, 0],
  ["slt", MIN, MAX, 1],
  ["sltu", -1, 1, 0],
  ["sltu", 1, -1, 1],
  ["sltu", MAX, MIN, 1],
  ["sltu", 0, 0, 0],
  ["xor", 0x0ff00ff0, -1, 0xf00ff00f | 0],
  ["srl", -1, 31, 1],
  ["srl", MIN, 4, 0x08000000],
  ["srl", -1, 32, -1],
  ["srl", -1, 33, MAX],
  ["sra", MIN, 31, -1],
  ["sra", MAX, 31, 0],
  ["sra", -8, 1, -4],
  ["sra", -8, 32, -8],
  ["or", 0x0f0f0f0f, 0xf0000000 | 0, 0xff0f0f0f | 0],
  ["and", 0x0f0f0f0f, 0x00ff00ff, 0x000f000f],
];

const IMMEDIATES: readonly Row[] = [
  ["addi", 1, 2047, 2048],
  ["addi", 1, -2048, -2047],
  ["addi", MAX, 1, MIN],
  // The upper bits of this one are sub's funct7.
  ["addi", 5, 1024, 1029],
  ["slti", -2049, -2048, 1],
  ["slti", -2048, -2048, 0],
  ["slti", MIN, 0, 1],
  ["slti", MAX, -1, 0],
  // The immediate is extended by its sign first, and unsigned then.
  ["sltiu", 5, -1, 1],
  ["sltiu", -1, -1, 0],
  ["sltiu", 0, 1, 1],
  ["sltiu", 1, 1, 0],
  ["sltiu", MIN, 2047, 0],
  ["xori", 0x12345678, -1, ~0x12345678],
  ["xori", 0, 2047, 2047],
  ["ori", 0x1000, -2048, -2048],
  ["ori", 0x1000, 0x7ff, 0x17ff],
  ["andi", -1, -2048, -2048],
  ["andi", 0x12345678, 0xff, 0x78],
  ["slli", 1, 31, MIN],
  ["slli", -1, 0, -1],
  ["srli", -1, 31, 1],
  ["srli", MIN, 1, 0x40000000],
  ["srai", MIN, 31, -1],
  ["srai", MAX, 30, 1],
  ["srai", -1, 0, -1],
];

describe("computations", () => {
  it.each(REGISTERS)("%s %i, %i is %i", (name, a, b, result) => {
    const instruction = rv[name] as (rd: number, rs1: number, rs2: number) => number;
    const stop = one(instruction(5, 6, 7), { 5: 99, 6: a, 7: b });
    expect(stop).toMatchObject({ pc: CODE + 4 });
    expect([stop.x[5], stop.x[6], stop.x[7]]).toEqual([result, a, b]);
    // All three may be one register, and the highest.
    const same = one(instruction(31, 31, 31), { 31: a }).x[31];
    expect(same).toBe(one(instruction(5, 6, 7), { 6: a, 7: a }).x[5]);
  });

  it.each(IMMEDIATES)("%s %i, %i is %i", (name, a, imm, result) => {
    const instruction = rv[name] as (rd: number, rs1: number, imm: number) => number;
    expect(one(instruction(31, 1, imm), { 1: a, 31: 99 }).x[31]).toBe(result);
    expect(one(instruction(6, 6, imm), { 6: a }).x[6]).toBe(result);
  });

  it.each([
    ["lui", 0x12345, 0x12345000],
    ["lui", 0xfffff, -4096],
    ["lui", 0x80000, MIN],
    ["auipc", 0, CODE],
    ["auipc", 0x12345, 0x12345000 + CODE],
    // Modulo 2^32.
    ["auipc", 0xfffff, CODE - 4096],
  ] as const)("%s 0x%x", (name, upper, result) => {
    const stop = one(rv[name](9, upper), { 9: 99 });
    expect(stop.x[9]).toBe(result);
    expect(stop.pc).toBe(CODE + 4);
  });
});

describe("loads", () => {
  const data = [0x80, 0x7f, 0xff, 0x00, 0x01, 0x80, 0xfe, 0xca];

  it.each([
    ["lb", 0, -128],
    ["lb", 1, 127],
    ["lb", 2, -1],
    ["lb", 7, 0xca - 256],
    ["lbu", 0, 128],
    ["lbu", 2, 255],
    ["lbu", 3, 0],
    ["lh", 0, 0x7f80],
    ["lh", 2, 0x00ff],
    ["lh", 4, 0x8001 - 65536],
    ["lh", 6, 0xcafe - 65536],
    ["lhu", 4, 0x8001],
    ["lhu", 6, 0xcafe],
    ["lw", 0, 0x00ff7f80],
    ["lw", 4, 0xcafe8001 | 0],
  ] as const)("%s of byte %i is %i", (name, at, result) => {
    expect(one(rv[name](5, at, 6), { 5: 99, 6: DATA }, data).x[5]).toBe(result);
    expect(one(rv[name](6, -2048, 6), { 6: DATA + at + 2048 }, data).x[6]).toBe(result);
    expect(one(rv[name](31, 2047, 6), { 6: DATA + at - 2047 }, data).x[31]).toBe(result);
  });

  it("read zeros where nobody has written", () => {
    expect(one(rv.lw(5, 0, 6), { 5: 99, 6: 64 }).x[5]).toBe(0);
  });

  it("wrap around the address space", () => {
    expect(one(rv.lw(5, 8, 6), { 6: DATA - 8 }, data).x[5]).toBe(0x00ff7f80);
    const high = run({ code: [rv.lb(5, 5, 6)], x: { 5: 99, 6: -5 } });
    expect(high.trap).toBeNull();
    expect(high.x[5]).toBe(0);
  });
});

describe("stores", () => {
  const before = Array.from({ length: 12 }, () => 0xee);

  it.each([
    ["sb", 4, [0x78]],
    ["sb", 7, [0x78]],
    ["sh", 4, [0x78, 0x56]],
    ["sh", 6, [0x78, 0x56]],
    ["sw", 4, [0x78, 0x56, 0x34, 0xf2]],
  ] as const)("%s to byte %i writes its bytes and no others", (name, at, bytes) => {
    const after = before.slice();
    after.splice(at, bytes.length, ...bytes);
    for (const [offset, base] of [
      [0, DATA + at],
      [-2048, DATA + at + 2048],
      [2047, DATA + at - 2047],
    ] as const) {
      const stop = one(rv[name](5, offset, 6), { 5: 0xf2345678 | 0, 6: base }, before);
      expect([...guest.read(DATA, 12)]).toEqual(after);
      expect(stop.pc).toBe(CODE + 4);
      expect(stop.x[5]).toBe(0xf2345678 | 0);
    }
  });

  it("store zero from x0", () => {
    one(rv.sw(0, 4, 6), { 6: DATA }, before);
    expect([...guest.read(DATA + 4, 4)]).toEqual([0, 0, 0, 0]);
  });

  it("reach the last byte of the guest", () => {
    one(rv.sb(5, -1, 6), { 5: 7, 6: BYTES });
    expect(guest.read(BYTES - 1, 1)[0]).toBe(7);
    one(rv.sw(5, -4, 6), { 5: 0x01020304, 6: BYTES });
    expect([...guest.read(BYTES - 4, 4)]).toEqual([4, 3, 2, 1]);
  });
});

describe("jumps", () => {
  it.each([4, 8, 2048, -4, -4096, 0xffffc, -1048576])("jal %i", (offset) => {
    const stop = one(rv.jal(1, offset));
    expect(stop.pc).toBe((CODE + offset) >>> 0);
    expect(stop.x[1]).toBe(CODE + 4);
  });

  it.each([
    ["adds the offset", 0x2000, 16, 0x2010],
    ["adds a negative one", 0x2000, -2048, 0x1800],
    ["clears bit 0 of the sum", 0x2001, 0, 0x2000],
    ["clears bit 0 that the offset set", 0x2000, 5, 0x2004],
    ["carries before it clears", 0x2001, 3, 0x2004],
    ["wraps around", -4, 8, 4],
  ])("jalr %s", (_, base, offset, target) => {
    const stop = one(rv.jalr(1, offset, 5), { 5: base });
    expect(stop.pc).toBe(target);
    expect(stop.x[1]).toBe(CODE + 4);
  });

  it("jalr takes its base before it writes the link", () => {
    const stop = one(rv.jalr(5, 4, 5), { 5: DATA });
    expect(stop.pc).toBe(DATA + 4);
    expect(stop.x[5]).toBe(CODE + 4);
  });
});

describe("branches", () => {
  const CASES: readonly (readonly [number, number])[] = [
    [0, 0],
    [1, 2],
    [2, 1],
    [-1, 1],
    [1, -1],
    [MIN, MAX],
    [MAX, MIN],
    [MIN, MIN],
    [-1, -2],
  ];

  it.each([
    ["beq", (a: bigint, b: bigint) => a === b, false],
    ["bne", (a: bigint, b: bigint) => a !== b, false],
    ["blt", (a: bigint, b: bigint) => a < b, false],
    ["bge", (a: bigint, b: bigint) => a >= b, false],
    ["bltu", (a: bigint, b: bigint) => a < b, true],
    ["bgeu", (a: bigint, b: bigint) => a >= b, true],
  ] as const)("%s", (name, holds, unsigned) => {
    const value = (word: number): bigint =>
      unsigned ? BigInt.asUintN(32, BigInt(word)) : BigInt(word);
    for (const [a, b] of CASES) {
      for (const offset of [8, -4, 4092, -4096]) {
        const stop = one(rv[name](5, 6, offset), { 5: a, 6: b });
        const target = holds(value(a), value(b)) ? CODE + offset : CODE + 4;
        expect(`${name} ${a} ${b}: ${stop.pc}`).toBe(`${name} ${a} ${b}: ${target}`);
      }
    }
  });

  it("compare with x0", () => {
    expect(one(rv.beq(0, 0, 8)).pc).toBe(CODE + 8);
    expect(one(rv.bne(5, 0, 8), { 5: -1 }).pc).toBe(CODE + 8);
  });
});

describe("x0", () => {
  const WRITES: readonly number[] = [
    rv.addi(0, 0, 5),
    rv.lui(0, 0x12345),
    rv.auipc(0, 1),
    rv.add(0, 5, 5),
    rv.lw(0, 0, 6),
    rv.jal(0, 4),
    rv.jalr(0, 4 * 7, 7),
  ];

  it("stays 0 whatever is written to it", () => {
    const x = { 5: 3, 6: DATA, 7: CODE };
    const stop = run({ code: [...WRITES, rv.addi(8, 0, 1)], x, data: [1, 2, 3, 4] });
    expect(stop.trap).toBeNull();
    expect([stop.x[0], stop.x[8], stop.pc]).toEqual([0, 1, CODE + 32]);
  });
});

describe("fences", () => {
  it.each([
    ["fence", rv.fence()],
    ["fence.tso", 0x8330000f],
    ["pause", 0x0100000f],
    ["a fence with reserved fields", 0x0ffa8a8f],
    ["fence.i", 0x0000100f],
  ])("%s does nothing", (_, word) => {
    const stop = one(word, { 21: 5 });
    expect(stop.pc).toBe(CODE + 4);
    expect(stop.x.filter((value) => value !== 0)).toEqual([5]);
  });
});

describe("programs", () => {
  it("may write their own code: the next fetch sees it", () => {
    const made = rv.addi(9, 0, 42);
    const code = [rv.sw(5, 4, 6), rv.addi(9, 0, 1)];
    const stop = run({ code, x: { 5: made | 0, 6: CODE } });
    expect(stop.x[9]).toBe(42);
  });

  it("loop: the sum of 1 to 100", () => {
    // x5 counts down, x6 adds up.
    const code = [rv.addi(5, 0, 100), rv.add(6, 6, 5), rv.addi(5, 5, -1), rv.bne(5, 0, -8)];
    const stop = run({ code: [...code, rv.ebreak()], steps: 1000 });
    expect(stop.x[6]).toBe(5050);
    expect(stop.trap).toEqual({ cause: "breakpoint", pc: CODE + 16, value: 0 });
    expect(stop.retired).toBe(1 + 3 * 100);
  });

  it("stop after as many instructions as were asked for, and go on", () => {
    const stop = run({ code: [rv.addi(5, 5, 1), rv.jal(0, -4)], steps: 7 });
    expect([stop.x[5], stop.pc, stop.retired, stop.trap]).toEqual([4, CODE + 4, 7, null]);
    const next = run({ code: [rv.addi(5, 5, 1), rv.jal(0, -4)], x: { 5: 4 }, steps: 0 });
    expect([next.x[5], next.pc, next.retired, next.trap]).toEqual([4, CODE, 0, null]);
  });
});
