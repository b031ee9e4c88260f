/**
 * page-size - pagemap tells of the system's pages, and their size is not pagefold's everywhere.
 */
import { readFileSync } from "node:fs";
import { PAGE_SIZE } from "../../../base/units.js";
import { BadInput } from "../../bad-input.js";
import { size } from "../../screen/figures.js";

/** Key of the page size in the auxiliary vector: pairs of a key and a value, of 64 bits each. */
const AT_PAGESZ = 6n;
const WORD = 8;

/** `auxv` is what the kernel told this process when it began. Throws BadInput. */
export function checkPageSize(spec: string, auxv: Buffer = readFileSync("/proc/self/auxv")): void {
  for (let at = 0; at + 2 * WORD <= auxv.length; at += 2 * WORD) {
    if (auxv.readBigUInt64LE(at) !== AT_PAGESZ) continue;
    const bytes = Number(auxv.readBigUInt64LE(at + WORD));
    if (bytes === PAGE_SIZE) return;
    const wrong = `the pages of this system have ${size(bytes)}, and those of pagefold 4 KiB`;
    throw new BadInput(spec, wrong, "name a file, such as a core dump of it");
  }
  const wrong = "this system does not tell how large its pages are";
  throw new BadInput(spec, wrong, "name a file, such as a core dump of it");
}
