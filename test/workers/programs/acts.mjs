/** A guest program that does what `args.act` says. */
import { PAGE_SIZE } from "../../../dist/index.js";

const forever = () => new Promise(() => {});

const acts = {
  /** Writes its guest, reads it again, and tells what it was told. */
  work(vcpu, { guest, node, bytes, args }) {
    vcpu.fill(0, bytes, 7);
    vcpu.run(() => {
      for (let at = 0; at < bytes; at += PAGE_SIZE) vcpu.store32(at, args.first + at);
    });
    let sum = 0;
    for (let at = 0; at < bytes; at += PAGE_SIZE) sum += vcpu.load32(at);
    return { guest, node, bytes, sum, vcpu: vcpu.id, args };
  },
  async later(vcpu) {
    await new Promise((resolve) => setImmediate(resolve));
    return vcpu.load8(0);
  },
  throw() {
    throw new TypeError("the program's own error");
  },
  reject: async () => Promise.reject(new RangeError("later")),
  /** An error of pagefold's keeps its code and its numbers. */
  badAddress: (vcpu, { bytes }) => vcpu.load8(bytes),
  uncloneable: () => () => {},
  /** The vCPU must not be kept. */
  promiseInSection: (vcpu) => vcpu.run(async () => {}),
  wait: forever,
  exit: () => process.exit(3),
  exitInSection: (vcpu) =>
    vcpu.run(() => {
      vcpu.store32(0, 1);
      process.exit(3);
    }),
  uncaught: () => {
    setImmediate(() => {
      throw new Error("nobody caught this");
    });
    return forever();
  },
  unhandled: () => {
    void Promise.reject(new Error("nobody handled this"));
    return forever();
  },
  spin: (_vcpu, { args }) => {
    Atomics.store(args.flag, 0, 1);
    Atomics.notify(args.flag, 0);
    for (;;);
  },
};

export default (vcpu, context) => acts[context.args.act](vcpu, context);
