/**
 * kernel - folds a mix with this machine's own KSM: sleep 0, huge pages_to_scan, smart_scan 0, every page
 * present, no huge pages. Between rounds it is given back with every knob as it was.
 */
import { fileURLToPath } from "node:url";
import { counterProblem, DIRTY_BYTE, DIRTY_STEP, type Mix, mergedCounters } from "../mix.js";
import { type LinuxKsm, type Options, withLinuxKsm } from "../peers/linux-ksm.js";
import type { FoldTimes, PassName, PassTime } from "./passes.js";

/** How long a round waits for another user of the kernel's KSM. */
const LOCK_SECONDS = 60;

export type KernelPlace = NonNullable<Options["place"]>;

/**
 * Where the kernel's KSM is. Running the benchmarks allows its use, unless PAGEFOLD_KERNEL_KSM says
 * something else; a quick run leaves the machine alone unless it is set.
 */
export function kernelPlace(root: string, quick: boolean): KernelPlace {
  const { PAGEFOLD_KERNEL_KSM: said = quick ? undefined : "1" } = process.env;
  return {
    env: { ...process.env, PAGEFOLD_KERNEL_KSM: said },
    driver: fileURLToPath(new URL("bench/peers/linux-ksm.py", `file://${root}`)),
  };
}

/** The times, or a sentence that says why there are none. */
export async function foldByKernel(
  mix: Mix,
  file: string,
  pages: number,
  place: KernelPlace,
): Promise<FoldTimes | string> {
  const outcome = await withLinuxKsm((ksm) => fold(ksm, mix, file, pages), {
    place,
    lockSeconds: LOCK_SECONDS,
  });
  return outcome.refused ?? outcome.value;
}

async function fold(ksm: LinuxKsm, mix: Mix, file: string, pages: number): Promise<FoldTimes> {
  const passes: Partial<Record<PassName, PassTime>> = {};
  const problems: string[] = [];
  const { pages: loaded } = await ksm.load([file]);
  if (loaded !== pages) problems.push(`${loaded} of ${pages} pages were loaded`);
  passes.first = await timePass(ksm);
  passes.merging = await timePass(ksm);
  const problem = counterProblem(ksm.counters(), mergedCounters(mix, pages));
  if (problem !== null) problems.push(problem);
  passes.unchanged = await timePass(ksm);
  await dirty(ksm, 0);
  await timePass(ksm);
  await dirty(ksm, 1);
  passes.dirty = await timePass(ksm);
  await ksm.unload();
  return { passes, problems };
}

async function timePass(ksm: LinuxKsm): Promise<PassTime> {
  const [scan] = await ksm.scan(1);
  if (scan === undefined) throw new Error("the kernel did not scan");
  return { ...scan, hashed: null };
}

async function dirty(ksm: LinuxKsm, salt: number): Promise<void> {
  await ksm.write({ first: salt, step: DIRTY_STEP, byte: DIRTY_BYTE, salt });
}
