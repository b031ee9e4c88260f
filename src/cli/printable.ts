/**
 * printable - text that is safe on a terminal, in one line.
 */

/** What a terminal would obey, or what would turn the order of the text around it. */
const UNPRINTABLE = /[\p{Cc}\p{Zl}\p{Zp}\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/gu;

/** Text with "?" for what no terminal may get: names of files and processes may hold anything. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, "?");
}
