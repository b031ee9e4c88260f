/**
 * cpu - the RV32I base instruction set (RISC-V Unprivileged ISA 2.1), executed from guest memory.
 *
 * Every instruction is fetched through the vCPU and decoded anew, so a program that writes its own code sees
 * it at once, and FENCE.I, like FENCE with one hart, has nothing to do. The fetch is also the safepoint that
 * a section owes: when ksmd shoots translations down, the next access misses and acknowledges.
 */
import { branchIsTaken, compute, isComputation } from "./alu.mjs";
import { funct3, funct7, immB, immI, immJ, immS, immU, opcode, rd, rs1, rs2 } from "./decode.mjs";

/**
 * @typedef {object} Trap Why the CPU stopped. The instruction at `pc` has had no effect.
 * @property {"instruction-address-misaligned" | "instruction-access-fault" | "illegal-instruction" |
 *   "breakpoint" | "load-address-misaligned" | "load-access-fault" | "store-address-misaligned" |
 *   "store-access-fault" | "environment-call"} cause the names of the privileged specification
 * @property {number} pc
 * @property {number} value the address or the instruction that is at fault; 0 for ECALL and EBREAK
 */

const LOAD = 0x03;
const MISC_MEM = 0x0f;
const OP_IMM = 0x13;
const AUIPC = 0x17;
const STORE = 0x23;
const OP = 0x33;
const LUI = 0x37;
const BRANCH = 0x63;
const JALR = 0x67;
const JAL = 0x6f;
const SYSTEM = 0x73;

const ECALL = 0x00000073;
const EBREAK = 0x00100073;

export class Cpu {
  /** x0 to x31. */
  x;
  pc;
  /** Instructions that took effect. */
  retired = 0;
  #vcpu;
  #bytes;
  /** @type {Trap | null} */
  #trap = null;

  /** A hart whose memory is the vCPU's guest, of `bytes` bytes; in the state that `state` saved. */
  constructor(vcpu, bytes, { pc, x = [] }) {
    this.#vcpu = vcpu;
    this.#bytes = bytes;
    this.pc = pc;
    this.x = new Int32Array(32);
    this.x.set(x);
  }

  /** All there is beside memory: give it to a new Cpu to go on. */
  get state() {
    return { pc: this.pc, x: [...this.x] };
  }

  /** Executes up to `limit` instructions; returns the trap that stopped it, or null. */
  run(limit) {
    this.#trap = null;
    const end = this.retired + limit;
    while (this.retired < end) {
      const next = this.#execute();
      if (this.#trap !== null) return this.#trap;
      // Whatever was written to x0 is dropped.
      this.x[0] = 0;
      this.pc = next >>> 0;
      this.retired++;
    }
    return null;
  }

  /** Executes the instruction at pc; returns where the next one is. */
  #execute() {
    const { x, pc } = this;
    if (pc >= this.#bytes) return this.#stop("instruction-access-fault", pc);
    const word = this.#vcpu.load32(pc);
    switch (opcode(word)) {
      case OP_IMM:
        return this.#computeImmediate(word);
      case OP:
        if (!isComputation(funct3(word), funct7(word))) return this.#illegal(word);
        x[rd(word)] = compute(funct3(word), funct7(word), x[rs1(word)], x[rs2(word)]);
        return pc + 4;
      case LOAD:
        return this.#load(word);
      case STORE:
        return this.#store(word);
      case BRANCH:
        return this.#branch(word);
      case LUI:
        x[rd(word)] = immU(word);
        return pc + 4;
      case AUIPC:
        x[rd(word)] = pc + immU(word);
        return pc + 4;
      case JAL:
        return this.#jump(word, pc + immJ(word));
      case JALR:
        if (funct3(word) !== 0) return this.#illegal(word);
        return this.#jump(word, (x[rs1(word)] + immI(word)) & ~1);
      case MISC_MEM:
        return funct3(word) <= 1 ? pc + 4 : this.#illegal(word);
      case SYSTEM:
        if (word === ECALL) return this.#stop("environment-call", 0);
        if (word === EBREAK) return this.#stop("breakpoint", 0);
        return this.#illegal(word);
      default:
        return this.#illegal(word);
    }
  }

  #computeImmediate(word) {
    const { x } = this;
    const isShift = (funct3(word) & 3) === 1;
    // A shift has its amount where others have the low bits of the immediate, and funct7 above it.
    const variant = isShift ? funct7(word) : 0;
    if (isShift && !isComputation(funct3(word), variant)) return this.#illegal(word);
    x[rd(word)] = compute(funct3(word), variant, x[rs1(word)], immI(word));
    return this.pc + 4;
  }

  #branch(word) {
    const { x, pc } = this;
    const condition = funct3(word);
    if (condition === 2 || condition === 3) return this.#illegal(word);
    if (!branchIsTaken(condition, x[rs1(word)], x[rs2(word)])) return pc + 4;
    const target = pc + immB(word);
    return (target & 3) === 0 ? target : this.#stop("instruction-address-misaligned", target);
  }

  #jump(word, target) {
    if ((target & 3) !== 0) return this.#stop("instruction-address-misaligned", target);
    this.x[rd(word)] = this.pc + 4;
    return target;
  }

  #load(word) {
    const kind = funct3(word);
    if (kind === 3 || kind > 5) return this.#illegal(word);
    const address = (this.x[rs1(word)] + immI(word)) >>> 0;
    const size = 1 << (kind & 3);
    if ((address & (size - 1)) !== 0) return this.#stop("load-address-misaligned", address);
    // Aligned, in a guest of whole pages: the last byte is in it if the first is.
    if (address >= this.#bytes) return this.#stop("load-access-fault", address);
    this.x[rd(word)] = this.#loaded(kind, address);
    return this.pc + 4;
  }

  #loaded(kind, address) {
    const vcpu = this.#vcpu;
    switch (kind) {
      case 0: // LB
        return (vcpu.load8(address) << 24) >> 24;
      case 1: // LH
        return (vcpu.load32(address & ~2) << (address & 2 ? 0 : 16)) >> 16;
      case 2: // LW
        return vcpu.load32(address);
      case 4: // LBU
        return vcpu.load8(address);
      default: // LHU
        return (vcpu.load32(address & ~2) << (address & 2 ? 0 : 16)) >>> 16;
    }
  }

  #store(word) {
    const kind = funct3(word);
    if (kind > 2) return this.#illegal(word);
    const address = (this.x[rs1(word)] + immS(word)) >>> 0;
    if ((address & ((1 << kind) - 1)) !== 0) return this.#stop("store-address-misaligned", address);
    if (address >= this.#bytes) return this.#stop("store-access-fault", address);
    const value = this.x[rs2(word)];
    if (kind === 2) {
      this.#vcpu.store32(address, value);
    } else {
      this.#vcpu.store8(address, value);
      if (kind === 1) this.#vcpu.store8(address + 1, value >> 8);
    }
    return this.pc + 4;
  }

  #illegal(word) {
    return this.#stop("illegal-instruction", word);
  }

  /** Nothing has changed yet; `run` ends. */
  #stop(cause, value) {
    this.#trap = { cause, pc: this.pc, value: value >>> 0 };
    return this.pc;
  }
}
