/** The example emulator as a guest program: system calls, time slices, the C program, the demonstration. */
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createEngine, type Engine } from "../../dist/index.js";
// @ts-expect-error: plain JavaScript, for embedders to copy
import { expectedAnswer, expectedGreeting } from "../../examples/rv32i/answers.mjs";
// @ts-expect-error: as above
import { parseElf } from "../../examples/rv32i/elf.mjs";
import { rv } from "./assembler.js";
import { EXAMPLES, node } from "./child.js";

const PAGE = 4096;
const INTERPRETER = new URL("../../examples/rv32i/guest.mjs", import.meta.url);
const PROGRAM = join(EXAMPLES, "rv32i/program");
const ELF = readFileSync(join(PROGRAM, "program.elf"));

interface Stopped {
  readonly reason: "exit" | "input" | "trap";
  readonly status?: number;
  readonly trap?: unknown;
  readonly output: string;
  readonly cpu: { readonly pc: number; readonly x: number[] };
  readonly retired: number;
}

let engine: Engine;
beforeAll(async () => {
  engine = await createEngine({ memoryPerNode: 4 * 2 ** 20 });
});
afterAll(() => engine.close());

/** A guest of two pages with these instructions at 0, and a way to run it from there. */
function load(code: readonly number[]) {
  const guest = engine.createGuest({ bytes: 2 * PAGE });
  guest.write(0, new Uint8Array(Uint32Array.from(code).buffer));
  const run = (over: object = {}, signal?: AbortSignal): Promise<Stopped> => {
    const args = { cpu: { pc: 0 }, input: "", inputEnds: true, ...over };
    return guest.run(INTERPRETER, args, signal && { signal }) as Promise<Stopped>;
  };
  return { guest, run };
}

const li = (register: number, value: number): number => rv.addi(register, 0, value);

/** `a0 = number(a0, PAGE, a2)`: the buffer is the second page. */
function call(number: number, a0: number, a2: number): number[] {
  return [li(10, a0), rv.lui(11, 1), li(12, a2), li(17, number), rv.ecall()];
}

const READ = 63;
const WRITE = 64;
const EXIT = 93;

describe("system calls", () => {
  it("exit gives the low eight bits of its status", async () => {
    expect(await load(call(EXIT, 3, 0)).run()).toMatchObject({ reason: "exit", status: 3 });
    expect(await load(call(EXIT, -1, 0)).run()).toMatchObject({ status: 255, output: "" });
  });

  it("write appends to the output, characters of several bytes included", async () => {
    const { guest, run } = load([
      ...call(WRITE, 1, 2),
      rv.addi(18, 10, 0),
      ...[li(10, 1), rv.addi(11, 11, 2), li(12, 3), rv.ecall()],
      ...call(EXIT, 0, 0),
    ]);
    // The second character's bytes are in two writes.
    guest.write(PAGE, new TextEncoder().encode("a\u20acb"));
    const stop = await run();
    expect(stop).toMatchObject({ reason: "exit", output: "a\u20acb" });
    expect(stop.cpu.x[18]).toBe(2);
  });

  it("read takes what there is, up to the count, then tells the end", async () => {
    const { guest, run } = load([
      ...call(READ, 0, 4),
      rv.addi(18, 10, 0),
      ...call(READ, 0, 4),
      rv.addi(19, 10, 0),
      ...call(READ, 0, 4),
      rv.addi(20, 10, 0),
      ...call(EXIT, 0, 0),
    ]);
    const stop = await run({ input: "abcdef" });
    expect(stop.cpu.x.slice(18, 21)).toEqual([4, 2, 0]);
    expect(Buffer.from(guest.read(PAGE, 5)).toString("latin1")).toBe("efcd\0");
  });

  it("read waits for input that may still come; with it, the program goes on", async () => {
    const { run } = load([...call(READ, 0, 4), rv.addi(18, 10, 0), ...call(EXIT, 0, 0)]);
    const waits = await run({ inputEnds: false });
    expect(waits).toMatchObject({ reason: "input", retired: 4, cpu: { pc: 16 } });
    const again = await run({ cpu: waits.cpu, inputEnds: false });
    expect(again).toMatchObject({ reason: "input", retired: 0, cpu: waits.cpu });
    const done = await run({ cpu: again.cpu, input: "abc", inputEnds: false });
    expect(done.reason).toBe("exit");
    expect(done.cpu.x[18]).toBe(3);
  });

  it.each([
    ["a call that there is not", call(1, 0, 0), -38],
    ["a file that cannot be read", call(READ, 1, 1), -9],
    ["a file that cannot be written", call(WRITE, 2, 1), -9],
    ["a buffer beyond the guest", [...call(WRITE, 1, 2047).slice(0, 1), rv.lui(11, 2)], -14],
  ])("%s is refused by number", async (_, code, error) => {
    const rest = code.length < 5 ? [li(12, 1), li(17, WRITE), rv.ecall()] : [];
    const { run } = load([...code, ...rest, rv.addi(18, 10, 0), ...call(EXIT, 0, 0)]);
    const stop = await run();
    expect(stop).toMatchObject({ reason: "exit", output: "" });
    expect(stop.cpu.x[18]).toBe(error);
  });
});

describe("the guest program", () => {
  it("returns a trap as a value", async () => {
    const stop = await load([li(5, 1), rv.lw(6, 2, 0)]).run();
    const trap = { cause: "load-address-misaligned", pc: 4, value: 2 };
    expect(stop).toMatchObject({ reason: "trap", trap, retired: 1, cpu: { pc: 4 } });
  });

  it("shares its node's thread: others run beside an endless loop, which can be aborted", async () => {
    const abort = new AbortController();
    const endless = load([rv.jal(0, 0)]).run({}, abort.signal);
    // x5 counts down from 2^19, in more slices than one.
    const loop = [rv.lui(5, 128), rv.addi(5, 5, -1), rv.bne(5, 0, -4), ...call(EXIT, 7, 0)];
    const stop = await load(loop).run();
    expect(stop).toMatchObject({ reason: "exit", status: 7, retired: 1 + 2 ** 20 + 4 });
    abort.abort();
    await expect(endless).rejects.toThrow(expect.objectContaining({ name: "AbortError" }));
    // Its thread is free again: nothing else of this node would end otherwise.
    expect(await load(call(EXIT, 0, 0)).run()).toMatchObject({ reason: "exit" });
  });
});

describe("ELF files", () => {
  it("are read: what goes where", () => {
    const { entry, end, segments } = parseElf(ELF);
    expect(segments).toHaveLength(2);
    expect(segments[0].address).toBe(0x10000);
    expect(Buffer.compare(segments[0].bytes, ELF.subarray(0, segments[0].bytes.length))).toBe(0);
    expect(segments[1]).toEqual({ address: 0x12000, bytes: ELF.subarray(0, 0) });
    expect(end).toBe(0x66000);
    expect(entry - 0x10000).toBeLessThan(segments[0].bytes.length);
  });

  it.each([
    ["an empty file", 0, [], /not a 32-bit ELF file/],
    ["a file without the magic", 0, [0], /not a 32-bit ELF file/],
    ["a 64-bit file", 4, [2], /not a 32-bit ELF file/],
    ["a big-endian file", 5, [2], /not a 32-bit ELF file/],
    ["a shared object", 16, [3], /not a static RISC-V executable; link it with -static/],
    ["a file for x86", 18, [3], /not a static RISC-V executable/],
  ])("%s is refused", (_, at, bytes, message) => {
    const file = bytes.length === 0 ? Buffer.alloc(0) : Buffer.from(ELF);
    file.set(bytes, at);
    expect(() => parseElf(file)).toThrow(message);
  });
});

/** The compiler that made the committed file, if this machine has it. */
function hasCompiler(): boolean {
  const version = (command: string): string => spawnSync(command, ["--version"]).stdout?.toString();
  return [version("clang"), version("ld.lld")].every((text) => text?.includes("14.0.6"));
}

describe("the C program", () => {
  it("is the one that was built", () => {
    expect(createHash("sha256").update(ELF).digest("hex")).toBe(
      "854ab5ef78dd89111a59ddd81de8123e9099e953a58edced9a2ef78d44e13a0f",
    );
  });

  it.skipIf(!hasCompiler())("is built again byte for byte", () => {
    const directory = mkdtempSync(join(tmpdir(), "pagefold-rv32i-"));
    try {
      const output = join(directory, "program.elf");
      execFileSync(join(PROGRAM, "build.sh"), [output]);
      expect(Buffer.compare(readFileSync(output), ELF)).toBe(0);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("answers any number of questions, the last of the sieve and one beyond it", async () => {
    const { entry, end, segments } = parseElf(ELF);
    const guest = engine.createGuest({ bytes: end });
    for (const { address, bytes } of segments) guest.write(address, bytes);
    const args = { cpu: { pc: entry }, input: "1\n2\n12251\n12252\n", inputEnds: true };
    const stop = (await guest.run(INTERPRETER, args)) as Stopped;
    expect(stop).toMatchObject({ reason: "exit", status: 0 });
    const lines = stop.output.split(/(?<=\n)/);
    const answers = [1, 2, 12251].map((n) => expectedAnswer(n));
    expect(lines.slice(0, 4)).toEqual([expectedGreeting(segments[0].bytes), ...answers]);
    expect(lines[4]).toMatch(/^prime 12252 is 0, stream /);
    expect(lines).toHaveLength(5);
  });
});

/** Without what is the machine's: time, and what happened while it passed. */
function untimed(text: string): string {
  return text
    .replace(/ in \d+\.\d s: [\d,]+ million a second$/gm, " in TIME")
    .replace(/ksmd merged [\d,]+ pages, [\d,]+ were written and copied again$/gm, "ksmd MERGED");
}

it("the demonstration: 32 guests run, are folded, and say what they should", async () => {
  const { status, stdout, stderr } = await node(join(EXAMPLES, "rv32i/main.mjs"));
  expect(stderr).toBe("");
  expect(status).toBe(0);
  const expected = `\
32 guests of one RV32I program of 4,488 bytes, on 2 nodes

boot      48.1 million instructions in TIME
          meanwhile ksmd MERGED
          all say: 12251 primes, image c9ddebe5...
folded    2,624 pages lie in 19 frames: pages_sharing 2,605 x 4096 bytes, 99.3 % saved

answer    42.5 million instructions in TIME
          meanwhile ksmd MERGED
          guest 0 says: prime 100 is 541, stream 125583a9...
          guest 1 says: prime 450 is 3181, stream 89b67722...
          guest 31 says: prime 10950 is 115859, stream 2d4c3e97...
folded    2,624 pages lie in 114 frames: pages_sharing 2,510 x 4096 bytes, 95.7 % saved

check     clean
`;
  expect(untimed(stdout)).toBe(expected);
  expect(untimed(readFileSync(join(EXAMPLES, "README.md"), "utf8"))).toContain(expected);
  // Each guest wrote two pages of results and one of its stack while they were merged.
  const copied = [...stdout.matchAll(/([\d,]+) were written/g)].map(([, n]) => n.replace(",", ""));
  expect(Number(copied[1])).toBeGreaterThanOrEqual(3 * 32);
});
