/** A guest program that lives through changes of blocks: writes and reads in one section until it is told to end. */
import { PAGE_SIZE } from "../../../dist/index.js";

/** Each page again and again, its version in each of a few words; tells how many rounds, and reads that were wrong. */
function churn(vcpu, { bytes, args: { flag } }) {
  const pages = bytes / PAGE_SIZE;
  let rounds = 0;
  let wrong = 0;
  vcpu.run(() => {
    for (; rounds === 0 || Atomics.load(flag, 0) === 0; rounds++) {
      for (let gfn = 0; gfn < pages; gfn++) {
        const address = gfn * PAGE_SIZE;
        if (rounds > 0 && vcpu.load32(address + 8 * (gfn % 64)) !== gfn * 1000 + rounds - 1)
          wrong++;
        vcpu.store32(address + 8 * (gfn % 64), gfn * 1000 + rounds);
      }
      if (rounds === 0) {
        Atomics.store(flag, 1, 1);
        Atomics.notify(flag, 1);
      }
    }
  });
  return { rounds, wrong };
}

/** Writes every page of the guest once, and reads it again. */
function fill(vcpu, { bytes }) {
  let wrong = 0;
  vcpu.run(() => {
    for (let at = 0; at < bytes; at += PAGE_SIZE) vcpu.store32(at, at + 1);
    for (let at = 0; at < bytes; at += PAGE_SIZE) if (vcpu.load32(at) !== at + 1) wrong++;
  });
  return wrong;
}

/** Runs on in a section without an access, until it is told to end. */
function deaf(vcpu, { args: { flag } }) {
  vcpu.run(() => {
    vcpu.store32(0, 7);
    Atomics.store(flag, 1, 1);
    Atomics.notify(flag, 1);
    while (Atomics.load(flag, 0) === 0);
  });
  return vcpu.load32(0);
}

export default (vcpu, context) => ({ churn, fill, deaf })[context.args.act](vcpu, context);
