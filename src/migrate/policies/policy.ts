/**
 * policy - which policies the migrators follow by themselves: names, and the word that says so.
 *
 * OWNS    engine.policies
 *
 * One bit a policy. The engine's owner writes the word; each migrator reads it before each batch, so a change holds
 * from the next batch on. Whoever wants to know that no batch of before is under way asks every migrator
 * (machine/migrator.ts), which answers between two batches.
 *
 * INVARIANTS
 *   POLICY-1  a migrator plans for a policy only if its bit was set when it last looked.
 * ORDER   policies.set -> policies.look
 * MODEL   test/unit/policies.test.ts (one writer, and any value is acceptable)
 */
import { loadWord, storeWord } from "../../base/atomics.js";
import { PagefoldError } from "../../base/errors.js";
import { ENGINE_POLICIES } from "../../base/layout.js";
import type { Memory } from "../../base/memory.js";

/**
 * What migrators do by themselves, all of the time.
 *
 * - `follow`: a frame drifts to the home node of the guest that uses it, a shared one to that of most of its pages.
 * - `balance`: the nodes' shares of free frames come within 10 % of each other.
 * - `compact`: blocks with few used frames are emptied.
 * - `chaos`: frames move at random, merged ones above all; for tests.
 */
export type Policy = "follow" | "balance" | "compact" | "chaos";

/** In the order of their bits. */
const POLICIES: readonly Policy[] = ["follow", "balance", "compact", "chaos"];

function bitOf(policy: Policy): number {
  return 1 << POLICIES.indexOf(policy);
}

/** The policies given, if each has one of the names, and none is named twice. */
export function givenPolicies(policies: readonly Policy[]): readonly Policy[] {
  const known = POLICIES.join(", ");
  const refused = (message: string): PagefoldError =>
    new PagefoldError("PAGEFOLD_BAD_OPTION", message, { option: "policies", value: policies });
  if (!Array.isArray(policies)) {
    throw refused(`policies must be an array of ${known}, not ${policies}`);
  }
  policies.forEach((policy: Policy, i) => {
    if (!POLICIES.includes(policy)) {
      throw refused(`there is no policy ${policy}; the policies are ${known}`);
    }
    if (policies.indexOf(policy) !== i) throw refused(`the policy ${policy} is named twice`);
  });
  return [...policies];
}

/** Makes these the policies; by the engine's owner. */
export function setPolicies(memory: Memory, policies: readonly Policy[]): void {
  const bits = policies.reduce((all, policy) => all | bitOf(policy), 0);
  // ORDER policies.set -> policies.look: before the migrators are told; else one answers and goes on as before.
  storeWord(memory.control, memory.layout.engine + ENGINE_POLICIES, bits);
}

function policyBits(memory: Memory): number {
  // ORDER policies.look <- policies.set
  return loadWord(memory.control, memory.layout.engine + ENGINE_POLICIES);
}

/** The policies at this moment, in the order of their bits. */
export function activePolicies(memory: Memory): Policy[] {
  const bits = policyBits(memory);
  return POLICIES.filter((policy) => (bits & bitOf(policy)) !== 0);
}

export function policyIsActive(memory: Memory, policy: Policy): boolean {
  return (policyBits(memory) & bitOf(policy)) !== 0;
}
