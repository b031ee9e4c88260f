/**
 * facts - texts beside what they are about.
 */
import { wrapped } from "./columns.js";

/** Sentences are read no better when they are wider. */
export const PROSE = 80;
const LABEL = 10;

/** Texts beside what they are about, a line each if that is enough. */
export function facts(about: string, texts: readonly string[]): string[] {
  const lines = texts.flatMap((text) => wrapped(text, PROSE - LABEL));
  return lines.map((line, i) => (i === 0 ? about : "").padEnd(LABEL) + line);
}
