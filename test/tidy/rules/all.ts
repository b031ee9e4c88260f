/**
 * all - the law, by name. The tests demand for each rule a snippet that fails and one that passes.
 */
import { headers } from "./headers.ts";
import { cycles, deadExports, layers } from "./imports.ts";
import { order, racy } from "./order.ts";
import { protocol, sideEffects } from "./protocol.ts";
import { directAccesses, seam } from "./seam.ts";
import { sizes } from "./sizes.ts";
import type { Rule } from "./source.ts";
import { bannedWords } from "./words.ts";

export const RULES = {
  layers,
  cycles,
  seam,
  protocol,
  "side-effects": sideEffects,
  order,
  racy,
  "direct-access": directAccesses,
  sizes,
  headers,
  "banned-words": bannedWords,
  "dead-exports": deadExports,
} as const satisfies Record<string, Rule>;

export type RuleName = keyof typeof RULES;
