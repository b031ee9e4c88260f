/** garbage - gives the memory of engines that are gone back before the next one is made. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** V8 does not count shared memory as a reason to collect. */
export function collectGarbage(): void {
  collect();
}
