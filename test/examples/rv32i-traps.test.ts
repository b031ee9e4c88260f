/** Traps of the example emulator: which, where, with what value, and without any effect. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type Engine, type EngineGuest, type Vcpu } from "../../dist/index.js";
import { rv } from "./assembler.js";
import { BYTES, CODE, DATA, execute, type Start } from "./hart.js";

let engine: Engine;
let guest: EngineGuest;
let vcpu: Vcpu;
beforeAll(async () => {
  engine = await createEngine({ workers: false, memoryPerNode: 2 ** 20 });
  guest = engine.createGuest({ bytes: BYTES });
  vcpu = guest.vcpu();
});
afterAll(() => engine.close());

/** The code's last instruction traps: nothing else has changed since the one before. */
function expectTrap(start: Start, cause: string, value: number): void {
  const at = (start.pc ?? CODE) + 4 * (start.code.length - 1);
  const data = Array.from({ length: 16 }, (_, i) => i + 1);
  const before = execute(guest, vcpu, { data, ...start, steps: start.code.length - 1 });
  const stop = execute(guest, vcpu, { data, ...start, steps: 10 });
  expect(stop).toEqual({ ...before, trap: { cause, pc: at, value } });
  expect(before.pc).toBe(at);
  expect([...guest.read(DATA, 16)]).toEqual(data);
}

describe("illegal instructions", () => {
  const r = (funct7: number, funct3: number, opcode: number): number =>
    ((funct7 << 25) | (7 << 20) | (6 << 15) | (funct3 << 12) | (5 << 7) | opcode) >>> 0;

  it.each([
    ["all zeros", 0x00000000],
    ["all ones", 0xffffffff],
    ["16 bits (c.addi)", 0x00000285],
    ["mul, of M", r(1, 0, 0x33)],
    ["remu, of M", r(1, 7, 0x33)],
    ["sub's funct7 beside and", r(0x20, 7, 0x33)],
    ["sub's funct7 beside sll", r(0x20, 1, 0x33)],
    ["slli by 32, of RV64", r(1, 1, 0x13)],
    ["slli with the bit of srai", r(0x20, 1, 0x13)],
    ["srai by 32, of RV64", r(0x21, 5, 0x13)],
    ["rori, of Zbb", r(0x30, 5, 0x13)],
    ["ld, of RV64", r(0, 3, 0x03)],
    ["lwu, of RV64", r(0, 6, 0x03)],
    ["a load of kind 7", r(0, 7, 0x03)],
    ["sd, of RV64", r(0, 3, 0x23)],
    ["a store of kind 4", r(0, 4, 0x23)],
    ["a branch of kind 2", r(0, 2, 0x63)],
    ["a branch of kind 3", r(0, 3, 0x63)],
    ["jalr of kind 1", r(0, 1, 0x67)],
    ["a fence of kind 2", r(0, 2, 0x0f)],
    ["addw, of RV64", r(0, 0, 0x3b)],
    ["amoadd.w, of A", r(0, 2, 0x2f)],
    ["flw, of F", r(0, 2, 0x07)],
    ["csrrw, of Zicsr", 0x300312f3],
    ["mret", 0x30200073],
    ["wfi", 0x10500073],
    ["ecall with a register", 0x000000f3],
  ])("%s", (_, word) => {
    const x = { 5: 0x55, 6: DATA, 7: 1 };
    expectTrap({ code: [rv.addi(8, 0, 3), word], x }, "illegal-instruction", word);
  });
});

describe("calls", () => {
  it("ecall and ebreak stop at themselves", () => {
    expectTrap({ code: [rv.addi(8, 0, 3), rv.ecall()] }, "environment-call", 0);
    expectTrap({ code: [rv.addi(8, 0, 3), rv.ebreak()] }, "breakpoint", 0);
  });
});

describe("misaligned", () => {
  const cause = "instruction-address-misaligned";

  it("jumps trap, and write no link", () => {
    expectTrap({ code: [rv.jal(1, 2)], x: { 1: 9 } }, cause, CODE + 2);
    expectTrap({ code: [rv.jal(1, -6)], x: { 1: 9 } }, cause, CODE - 6);
    expectTrap({ code: [rv.jalr(1, 2, 5)], x: { 1: 9, 5: DATA } }, cause, DATA + 2);
    expectTrap({ code: [rv.jalr(1, 0, 5)], x: { 1: 9, 5: DATA + 3 } }, cause, DATA + 2);
  });

  it("branches trap if they are taken", () => {
    expectTrap({ code: [rv.beq(0, 0, 6)] }, cause, CODE + 6);
    expectTrap({ code: [rv.bltu(0, 5, -2)], x: { 5: -1 } }, cause, CODE - 2);
    const stop = execute(guest, vcpu, { code: [rv.bne(0, 0, 6)] });
    expect([stop.trap, stop.pc]).toEqual([null, CODE + 4]);
  });

  it.each([
    ["lh", 1],
    ["lhu", 3],
    ["lw", 1],
    ["lw", 2],
    ["lw", 3],
  ] as const)("%s at byte %i traps", (name, at) => {
    const start = { code: [rv[name](5, at, 6)], x: { 5: 9, 6: DATA } };
    expectTrap(start, "load-address-misaligned", DATA + at);
  });

  it.each([
    ["sh", 1],
    ["sh", 3],
    ["sw", 1],
    ["sw", 2],
    ["sw", 3],
  ] as const)("%s at byte %i traps", (name, at) => {
    const start = { code: [rv[name](5, at, 6)], x: { 5: 9, 6: DATA } };
    expectTrap(start, "store-address-misaligned", DATA + at);
  });
});

describe("beyond the guest", () => {
  it.each([
    ["lb", BYTES],
    ["lbu", 0xffffffff],
    ["lh", BYTES],
    ["lhu", 0xfffffffe],
    ["lw", BYTES],
    ["lw", 0x80000000],
    ["lw", 0xfffffffc],
  ] as const)("%s at 0x%x traps", (name, address) => {
    const start = { code: [rv[name](5, 4, 6)], x: { 5: 9, 6: (address - 4) | 0 } };
    expectTrap(start, "load-access-fault", address);
  });

  it.each([
    ["sb", BYTES],
    ["sb", 0xffffffff],
    ["sh", BYTES],
    ["sh", 0x80000000],
    ["sw", BYTES],
    ["sw", 0xfffffffc],
  ] as const)("%s at 0x%x traps", (name, address) => {
    const start = { code: [rv[name](5, 4, 6)], x: { 5: 9, 6: (address - 4) | 0 } };
    expectTrap(start, "store-access-fault", address);
  });

  it.each([
    ["a jump", BYTES, rv.jalr(1, 0, 5)],
    ["a jump to the top", 0xfffffffc, rv.jalr(1, 0, 5)],
    ["a jump to negative addresses", 0x80000000, rv.jalr(1, 0, 5)],
  ])("%s arrives, and the fetch there traps", (_, target, word) => {
    const stop = execute(guest, vcpu, { code: [word], x: { 5: target | 0 }, steps: 10 });
    const trap = { cause: "instruction-access-fault", pc: target, value: target };
    expect(stop).toMatchObject({ pc: target, retired: 1, trap });
    expect(stop.x[1]).toBe(CODE + 4);
  });

  it("whoever runs off the end traps there", () => {
    const start = { code: [rv.addi(5, 0, 1)], pc: BYTES - 4, steps: 10 };
    const trap = { cause: "instruction-access-fault", pc: BYTES, value: BYTES };
    expect(execute(guest, vcpu, start)).toMatchObject({ pc: BYTES, retired: 1, trap });
  });
});
