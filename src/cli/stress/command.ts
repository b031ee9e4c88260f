/**
 * command - `pagefold stress`, from its options to an exit status.
 */
import { writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { NUMBER_MAX, PAGE_SIZE } from "../../base/units.js";
import { BadInput, reasonOf } from "../bad-input.js";
import { DONE, FAILED, say } from "../failure.js";
import type { Interrupt } from "../interrupt.js";
import { memoryLeft } from "../memory-left.js";
import { checkWritable } from "../output.js";
import { count, size } from "../screen/figures.js";
import { createProgress } from "../screen/progress.js";
import { type StressDocument, stressDocument } from "./document.js";
import type { StressOptions } from "./options.js";
import { makePlan, type Plan } from "./plan.js";
import type { StressResult } from "./stress.js";
import { renderStress } from "./text.js";

/**
 * MiB of half of a thread's young generation: by itself V8 lets it grow to 16, in each thread, for some minutes.
 * Kept small, memory that grows in the course of a stress is pagefold's.
 */
const SEMI_SPACE = 1;

/** Lines of an audit, and events, that standard error gets. */
const LINES = 10;

export async function stressCommand(options: StressOptions, interrupt: Interrupt): Promise<number> {
  const { json, dump } = options;
  if (dump !== null) checkWritable("--dump", dump);
  const plan = makePlan(options);
  checkMemory(plan);
  // For threads that are started from here on.
  setFlagsFromString(`--max-semi-space-size=${SEMI_SPACE}`);
  const result = await resultOf(plan, options, interrupt);
  const document = stressDocument(result);
  process.stdout.write(json ? `${JSON.stringify(document, null, 2)}\n` : renderStress(document));
  if (dump !== null && result.failure !== null) writeDump(dump, document, result);
  if (result.failure !== null) {
    tellFailure(result);
    return FAILED;
  }
  if (!result.interrupted) return DONE;
  say("interrupted; the result is what was done by then");
  return interrupt.status();
}

async function resultOf(
  plan: Plan,
  { quiet, dump }: StressOptions,
  interrupt: Interrupt,
): Promise<StressResult> {
  const view = createProgress(process.stderr, { quiet, env: process.env });
  try {
    // Help and bad input need no engine.
    const { runStress } = await import("./stress.js");
    const { signal } = interrupt;
    return await runStress(plan, { view, signal, wantsMachine: dump !== null });
  } finally {
    view.end();
    interrupt.dispose();
  }
}

/** Refuses what no engine can hold, and what would drive the machine into its OOM killer. */
function checkMemory({ nodes, memory_per_node: perNode }: Plan): void {
  const flag = `--memory-per-node ${perNode}`;
  const needed = nodes * perNode;
  if (needed / PAGE_SIZE > NUMBER_MAX) {
    const most = size(NUMBER_MAX * PAGE_SIZE);
    throw new BadInput(flag, `${nodes} nodes of it are more than ${most}`, "give less");
  }
  const { bytes, of } = memoryLeft();
  if (needed <= bytes) return;
  const wrong = `${nodes} nodes of it need ${size(needed)}, and ${of} has ${size(bytes)} left`;
  throw new BadInput(flag, wrong, "give less");
}

function tellFailure({ plan, failure, wreck }: StressResult): void {
  const { message = "", problems = [] } = failure ?? {};
  say(message);
  for (const problem of problems.slice(1, LINES)) say(`check: ${problem}`);
  for (const { ms, what } of wreck?.events.slice(-LINES) ?? []) say(`at ${count(ms)} ms: ${what}`);
  say(`again: ${commandOf(plan)}`);
}

/** The command that makes the same plan. */
function commandOf(plan: Plan): string {
  const { seed, seconds, nodes, guests, vcpus, migrators, memory_per_node } = plan;
  const options = { seed, seconds, nodes, guests, vcpus, migrators };
  const flags = Object.entries({ ...options, "memory-per-node": memory_per_node });
  return ["pagefold stress", ...flags.map(([name, value]) => `--${name} ${value}`)].join(" ");
}

function writeDump(path: string, document: StressDocument, { wreck }: StressResult): void {
  try {
    const { events, machine } = wreck ?? {};
    writeFileSync(path, `${JSON.stringify({ document, events, ...machine })}\n`);
  } catch (error) {
    say(`--dump ${path}: cannot be written (${reasonOf(error)})`);
  }
}
