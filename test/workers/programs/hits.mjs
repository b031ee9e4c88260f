/** A vCPU that stays in a section and hits one page for as long as another page says so. */
export default function program(vcpu, { args }) {
  return vcpu.run(() => {
    vcpu.store32(args.flag, 1);
    let hits = 0;
    // Only this page is touched, and always hits, unless somebody takes the translation away.
    while (vcpu.load32(args.flag) === 1) hits++;
    return hits;
  });
}
