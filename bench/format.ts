/** format - figures as people read them. */
import type { Summary } from "./summary.js";
import type { Unit } from "./table.js";

/** A whole number with commas. */
export function count(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Three figures that count, or a whole number. */
function three(value: number): string {
  if (value >= 100) return count(value);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function figure(value: number, unit: Unit): string {
  switch (unit) {
    case "pages/s":
    case "calls/s":
      return three(value / 1e6);
    case "MiB/s":
      return count(value);
    case "ns":
      return three(value);
    case "times":
      return `${three(value)}x`;
    case "percent":
      return `${value.toFixed(0)} %`;
    case "seconds":
      return `${three(value)} s`;
  }
}

/** Half of the range of the rounds, as a part of the median; nothing where there was one round. */
export function spread({ median, min, max, rounds }: Summary): string {
  if (rounds < 2) return "";
  return `±${Math.round((100 * (max - min)) / 2 / median)}%`;
}
