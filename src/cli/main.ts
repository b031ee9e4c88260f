#!/usr/bin/env node
/**
 * main - the command `pagefold`: from arguments to output and exit status.
 */
import { PagefoldError } from "../base/errors.js";
import { BadInput, isBadInput, oneLine, reasonOf } from "./bad-input.js";
import { parseCommandLine } from "./command-line.js";
import type { RunDocument } from "./document.js";
import type { RunOptions } from "./options.js";
import { checkNoSource, checkWritable, writeOutput } from "./output.js";
import type { Outcome } from "./run.js";
import { createProgress, type ProgressView } from "./screen/progress.js";
import { renderText } from "./screen/text.js";
import { findSources } from "./sources/find.js";

const DONE = 0;
const FAILED = 1;
const BAD_INPUT = 2;
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** Columns of the text where standard output is no terminal, and the least on one. */
const COLUMNS = 80;

async function main(): Promise<number> {
  const options = parseCommandLine(process.argv.slice(2));
  if (options === null) return DONE;
  if (options.output !== null) checkWritable(options.output);
  const interrupt = interruptible();
  const view = createProgress(process.stderr, { quiet: options.quiet, env: process.env });
  const outcome = await outcomeOf(options, view, interrupt.signal).catch((error) => {
    if (error !== interrupt.signal.reason) throw error;
    say("interrupted before anything was known");
    return null;
  });
  if (outcome === null) return interrupt.status();
  const { document, complaints } = outcome;
  for (const line of new Set(complaints)) say(line);
  if (!writeResult(options, document)) return FAILED;
  if (document.interrupted) return interrupt.status();
  return complaints.length === 0 ? DONE : FAILED;
}

/** Finds the sources and does the run; what was started for it has gone then. */
async function outcomeOf(
  options: RunOptions,
  view: ProgressView,
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    if (options.sources.length === 0) view.begin("starting processes", 0);
    const found = await findSources(options, signal);
    try {
      if (options.output !== null) checkNoSource(options.output, found.sources);
      // Help and bad input need no engine.
      const { runSources } = await import("./run.js");
      return await runSources(found, options, view, signal);
    } finally {
      await found.release();
    }
  } finally {
    view.end();
  }
}

function writeResult({ json, output }: RunOptions, document: RunDocument): boolean {
  const columns = output === null ? Math.max(COLUMNS, process.stdout.columns ?? COLUMNS) : COLUMNS;
  const text = json ? `${JSON.stringify(document, null, 2)}\n` : renderText(document, columns);
  try {
    writeOutput(output, text);
    return true;
  } catch (error) {
    say(`--output ${output}: cannot be written (${reasonOf(error)}); the result is lost`);
    return false;
  }
}

/** The first INT or TERM aborts the signal, the second ends the process at once. */
function interruptible(): { readonly signal: AbortSignal; status(): number } {
  const controller = new AbortController();
  let status = FAILED;
  for (const [name, code] of Object.entries(SIGNALS)) {
    process.on(name, () => {
      if (controller.signal.aborted) process.exit(status);
      status = code;
      controller.abort(new Error(`interrupted by ${name}`));
    });
  }
  return { signal: controller.signal, status: () => status };
}

/** Options that only the engine can judge. */
function asBadInput(error: unknown): unknown {
  if (!(error instanceof PagefoldError)) return error;
  const { option, value, accepted } = error.details;
  if (error.code === "PAGEFOLD_BAD_OPTION" && Array.isArray(accepted)) {
    const mend = `choose one of ${accepted.join(", ")}`;
    return new BadInput(`--${option} ${value}`, "is not available", mend);
  }
  return error;
}

function say(line: string): void {
  process.stderr.write(`pagefold: ${oneLine(line)}\n`);
}

function failed(thrown: unknown): number {
  const error = asBadInput(thrown);
  if (isBadInput(error)) {
    say(error.message);
    return BAD_INPUT;
  }
  if (error instanceof PagefoldError) say(`${error.code}: ${error.message}`);
  else process.stderr.write(`pagefold: ${error instanceof Error ? error.stack : error}\n`);
  return FAILED;
}

for (const stream of [process.stdout, process.stderr]) {
  // Whoever reads our output may stop reading.
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") return;
    process.stderr.write(`pagefold: standard output: ${error.message}; nothing more is written\n`);
    process.exit(FAILED);
  });
}
process.exitCode = await main().catch(failed);
