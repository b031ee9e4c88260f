#!/usr/bin/env node
/**
 * main - the command `pagefold`: from arguments to output and exit status.
 */
import { PagefoldError } from "../base/errors.js";
import { BadInput, isBadInput, oneLine } from "./bad-input.js";
import { parseCommandLine } from "./command-line.js";
import { installationSources } from "./installation.js";
import type { RunOptions } from "./options.js";
import type { Source } from "./source.js";
import { resolveSources, withUniqueNames } from "./sources.js";
import { renderText } from "./text.js";

const DONE = 0;
const FAILED = 1;
const BAD_INPUT = 2;
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

async function main(): Promise<number> {
  const options = parseCommandLine(process.argv.slice(2));
  if (options === null) return DONE;
  const { sources, notes } = findSources(options);
  const interrupt = interruptible();
  // Help and bad input need no engine.
  const { runSources } = await import("./run.js");
  const { document, complaints } = await runSources(sources, options, interrupt.signal);
  for (const line of new Set([...notes, ...complaints])) say(line);
  const text = options.json ? `${JSON.stringify(document, null, 2)}\n` : renderText(document);
  process.stdout.write(text);
  if (document.interrupted) return interrupt.status();
  return complaints.length === 0 ? DONE : FAILED;
}

/** The sources, and what is to be said of them once it is sure that they are no bad input. */
function findSources(options: RunOptions): { sources: readonly Source[]; notes: string[] } {
  const named = resolveSources(options.sources);
  const notes = named
    .filter(({ paddedBytes }) => paddedBytes > 0)
    .map(({ source, paddedBytes }) => `${source}: ${paddedBytes} zero bytes fill up its last page`);
  if (!options.installation) return { sources: withUniqueNames(named), notes };
  const { sources, files, skipped } = installationSources();
  const padded = sources.reduce((sum, { paddedBytes }) => sum + paddedBytes, 0);
  const about = "this installation";
  notes.push(`${about}: ${files} files, ${padded} zero bytes fill up their last pages`);
  if (skipped > 0) notes.push(`${about}: ${skipped} files may not be read and are left out`);
  return { sources: withUniqueNames([...named, ...sources]), notes };
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
