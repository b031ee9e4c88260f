/**
 * run-command - `pagefold run`, from its options to an exit status.
 */
import { DONE, FAILED, say } from "./failure.js";
import type { Interrupt } from "./interrupt.js";
import type { RunOptions } from "./options.js";
import { checkNoSource, checkWritable, writeOutput } from "./output.js";
import type { Outcome } from "./run.js";
import { createProgress, type ProgressView } from "./screen/progress.js";
import { renderText } from "./screen/text.js";
import { findSources } from "./sources/find.js";

/** Columns of the text where standard output is no terminal, and the least on one. */
const COLUMNS = 80;

export async function runCommand(options: RunOptions, interrupt: Interrupt): Promise<number> {
  if (options.output !== null) checkWritable("--output", options.output);
  const outcome = await outcomeOf(options, interrupt);
  if (outcome === null) {
    say("interrupted before anything was known");
    return interrupt.status();
  }
  for (const line of new Set(outcome.complaints)) say(line);
  const isWritten = writeResult(options, outcome);
  if (!isWritten) return FAILED;
  if (outcome.document.interrupted) {
    say("interrupted; the result is what was known by then");
    return interrupt.status();
  }
  return outcome.complaints.length === 0 ? DONE : FAILED;
}

/** null: it was interrupted before there was anything to tell. */
async function outcomeOf(options: RunOptions, interrupt: Interrupt): Promise<Outcome | null> {
  const { quiet } = options;
  const view = createProgress(process.stderr, { quiet, env: process.env });
  try {
    return await findAndRun(options, view, interrupt.signal);
  } catch (error) {
    if (error !== interrupt.signal.reason) throw error;
    return null;
  } finally {
    view.end();
    interrupt.dispose();
  }
}

/** Finds the sources and does the run; what was started for it has gone then. */
async function findAndRun(
  options: RunOptions,
  view: ProgressView,
  signal: AbortSignal,
): Promise<Outcome> {
  const found = await findSources(options, view, signal);
  try {
    if (options.output !== null) checkNoSource(options.output, found.sources);
    // Help and bad input need no engine.
    const { runSources } = await import("./run.js");
    return await runSources(found, options, view, signal);
  } finally {
    await found.release();
  }
}

/** False: it went elsewhere than it was asked to. */
function writeResult({ json, output }: RunOptions, { document }: Outcome): boolean {
  const columns = output === null ? Math.max(COLUMNS, process.stdout.columns ?? COLUMNS) : COLUMNS;
  const text = json ? `${JSON.stringify(document, null, 2)}\n` : renderText(document, columns);
  if (writeOutput(output, text)) return true;
  say(`--output ${output}: cannot be written; the result is on standard output`);
  return false;
}
