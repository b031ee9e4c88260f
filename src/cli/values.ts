/**
 * values - what options take, read from their text; what is wrong with it is BadInput.
 */
import { BadInput } from "./bad-input.js";

/** Largest value of a knob. */
export const KNOB_MAX = 2 ** 31 - 1;
/** What a timer can wait for, in seconds. */
const SECONDS_MAX = 2_000_000;

export function integer(flag: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= min && value <= max) return value;
    const limits = `it takes an integer from ${min} to ${max}`;
    throw new BadInput(`${flag} ${text}`.trimEnd(), "is out of range or no number", limits);
  };
}

export function oneOf<T extends string>(
  flag: string,
  names: Readonly<Record<T, true>>,
): (text: string) => T {
  return (text) => {
    if (Object.hasOwn(names, text)) return text as T;
    const mend = `choose one of ${Object.keys(names).join(", ")}`;
    throw new BadInput(`${flag} ${text}`.trimEnd(), "is not available", mend);
  };
}

/** A number of them above 0, or `endless`, which stands for no end. */
export function seconds(endless: 0 | null): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const isNumber = /^(\d+(\.\d*)?|\.\d+)$/.test(text) && value <= SECONDS_MAX;
    if (isNumber && (value > 0 || endless === 0)) return value;
    const limits = `it takes a number above 0, up to ${SECONDS_MAX}`;
    const also = endless === 0 ? ", or 0 for no end" : "";
    throw new BadInput(
      `--seconds ${text}`.trimEnd(),
      "is out of range or no number",
      `${limits}${also}`,
    );
  };
}
