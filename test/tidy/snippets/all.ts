/**
 * the snippets of every rule: a rule without any does not compile.
 */
import type { RuleName } from "../rules/all.ts";
import { cycles, deadExports, layers } from "./imports.ts";
import { order, racy } from "./order.ts";
import { directAccess, protocol, seam, sideEffects } from "./seam.ts";
import type { Snippets } from "./snippet.ts";
import { bannedWords, headers, sizes } from "./text.ts";

export const SNIPPETS: Readonly<Record<RuleName, Snippets>> = {
  layers,
  cycles,
  seam,
  protocol,
  "side-effects": sideEffects,
  order,
  racy,
  "direct-access": directAccess,
  sizes,
  headers,
  "banned-words": bannedWords,
  "dead-exports": deadExports,
};
