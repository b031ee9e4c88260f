/**
 * system - what ECALL does: three of Linux's system calls for RISC-V. a7 is the number, a0 to a2 are the
 * arguments, a0 is the result; errors are negative.
 */
const A0 = 10;
const A7 = 17;

const READ = 63;
const WRITE = 64;
const EXIT = 93;

const EBADF = -9;
const EFAULT = -14;
const ENOSYS = -38;

export class System {
  /** What the program has written so far. */
  output = "";
  #vcpu;
  #bytes;
  #input;
  #inputEnds;
  #decoder = new TextDecoder();

  /** @param {{ input: string, inputEnds: boolean }} terminal what the program reads, and whether that is all */
  constructor(vcpu, bytes, { input, inputEnds }) {
    this.#vcpu = vcpu;
    this.#bytes = bytes;
    this.#input = new TextEncoder().encode(input);
    this.#inputEnds = inputEnds;
  }

  /** Does the call that `cpu` stopped at; returns null, or why the program does not go on. */
  call(cpu) {
    const [first, address, count] = cpu.x.subarray(A0, A0 + 3);
    const number = cpu.x[A7];
    if (number === EXIT) return { reason: "exit", status: first & 0xff };
    // It has not happened yet: with more input the program makes it again.
    if (number === READ && this.#mustWait()) return { reason: "input" };
    cpu.x[A0] = this.#transfer(number, first, address >>> 0, count >>> 0);
    cpu.pc += 4;
    return null;
  }

  #mustWait() {
    return this.#input.length === 0 && !this.#inputEnds;
  }

  #transfer(number, file, address, count) {
    if (number !== READ && number !== WRITE) return ENOSYS;
    if (file !== (number === READ ? 0 : 1)) return EBADF;
    if (address + count > this.#bytes) return EFAULT;
    return number === READ ? this.#read(address, count) : this.#write(address, count);
  }

  #read(address, count) {
    const bytes = this.#input.subarray(0, count);
    this.#input = this.#input.subarray(bytes.length);
    this.#vcpu.write(address, bytes);
    return bytes.length;
  }

  #write(address, count) {
    this.output += this.#decoder.decode(this.#vcpu.read(address, count), { stream: true });
    return count;
  }
}
