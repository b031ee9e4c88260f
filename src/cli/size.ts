/**
 * size - bytes as people write them, in powers of 1024.
 */
import { BadInput } from "./bad-input.js";

const UNITS = {
  "": 1,
  K: 2 ** 10,
  KiB: 2 ** 10,
  M: 2 ** 20,
  MiB: 2 ** 20,
  G: 2 ** 30,
  GiB: 2 ** 30,
} as const;

/** `flag` is what the size is for. Throws BadInput. */
export function parseSize(flag: string, text: string): number {
  const [, number = "", unit = ""] = /^(\d+)([A-Za-z]*)$/.exec(text) ?? [];
  const factor = Object.hasOwn(UNITS, unit) ? UNITS[unit as keyof typeof UNITS] : undefined;
  const bytes = Number(number) * (factor ?? 0);
  if (number !== "" && factor !== undefined && bytes > 0 && Number.isSafeInteger(bytes))
    return bytes;
  throw new BadInput(
    `${flag} ${text}`.trimEnd(),
    "is no size",
    "write bytes, or a number with K, M, G, KiB, MiB or GiB, such as 512M",
  );
}
