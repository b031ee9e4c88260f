/**
 * A second process that uses the kernel's KSM, for linux-ksm.test.ts (which bundles and starts it). It begins
 * when told to by a line, prints "inside" when it is, and then does what `act` says.
 */

import * as fs from "node:fs";
import { type LinuxKsm, type Options, withLinuxKsm } from "../../bench/peers/linux-ksm.js";

export interface UserTask {
  readonly place: Options["place"];
  readonly act: "stay" | "exit" | "contend";
  /** Load and scan a few pages first. */
  readonly load: boolean;
}

const VISITS = 15;
const { place, act, load } = JSON.parse(process.argv[2]) as UserTask;

/** Fails when another process is inside: creating the file is refused while it is there. */
async function contend(): Promise<void> {
  const flag = `${place?.stateDir}/inside`;
  fs.writeFileSync(flag, "", { flag: "wx" });
  await new Promise(setImmediate);
  fs.unlinkSync(flag);
}

async function visit(ksm: LinuxKsm): Promise<void> {
  if (load) {
    await ksm.loadPages([1, 1, 1, 2].map((byte) => new Uint8Array(4096).fill(byte)));
    await ksm.scan(2);
  }
  if (act === "contend") return contend();
  process.stdout.write("inside\n");
  if (act === "exit") process.exit(3);
  await new Promise(() => setInterval(() => {}, 60_000));
}

process.stdin.once("data", async () => {
  for (let visits = act === "contend" ? VISITS : 1; visits > 0; visits--) {
    const { refused } = await withLinuxKsm(visit, { place: place ?? {} });
    if (refused !== null) throw new Error(refused);
  }
  process.exit(0);
});
