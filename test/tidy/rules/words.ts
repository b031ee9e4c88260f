/**
 * words - what must not be in the tree: unfinished work, tests that are switched off, and the machine
 * it was written on.
 *
 * The patterns are put together from pieces, so that this file may be searched too.
 */
import type { Rule, Violation } from "./source.ts";

interface Banned {
  readonly pattern: RegExp;
  readonly why: string;
}

const UNFINISHED = ["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"].join("|");
const EXCUSES = ["for" + " now", "not" + " implemented"].join("|");
const HOMES = ["work", "home", "Users", "root", "tmp"].join("|");
const HOSTS = [
  "registry\\.[a-z][a-z0-9-]*\\.(?:com|dev|io|net|org)",
  "[a-z0-9-]+\\.pkg\\.(?:dev|github\\.com)",
  "(?:www\\.)?npm" + "js\\.(?:com|org)",
  "py" + "pi\\.org",
  "gh" + "cr\\.io",
  "art" + "ifactory",
  "jf" + "rog\\.io",
].join("|");

const BANNED: readonly Banned[] = [
  { pattern: new RegExp(`\\b(?:${UNFINISHED})\\b`), why: "unfinished work" },
  { pattern: new RegExp(`\\b(?:${EXCUSES})\\b`, "i"), why: "unfinished work" },
  { pattern: /\.(?:only|skip)(?=\s*[(.])/, why: "a test that is switched off" },
  { pattern: new RegExp(`(?<![\\w.})*\\]-])/(?:${HOMES})/`), why: "a path of one machine" },
  { pattern: /\b[A-Z]:\\{1,2}[A-Z]/, why: "a path of one machine" },
  { pattern: new RegExp(`\\b(?:${HOSTS})`, "i"), why: "the name of a registry" },
];

export const bannedWords: Rule = (files) => {
  const violations: Violation[] = [];
  for (const file of files) {
    if (!/^(src|test)\//.test(file.path)) continue;
    file.text.split("\n").forEach((text, i) => {
      for (const { pattern, why } of BANNED) {
        const match = pattern.exec(text);
        if (match === null) continue;
        const message = `${match[0].trim()}: ${why}`;
        violations.push({ path: file.path, line: i + 1, rule: "banned-words", message });
      }
    });
  }
  return violations;
};
