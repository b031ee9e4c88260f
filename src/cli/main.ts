#!/usr/bin/env node
/**
 * main - the command `pagefold`: from arguments to output and exit status.
 */
import { reasonOf } from "./bad-input.js";
import { parseCommandLine } from "./command-line.js";
import { DONE, FAILED, reportFailure, say } from "./failure.js";
import { listenForSignals } from "./interrupt.js";
import { runCommand } from "./run-command.js";
import { stressCommand } from "./stress/command.js";

async function main(): Promise<number> {
  const request = parseCommandLine(process.argv.slice(2));
  if (request === null) return DONE;
  const interrupt = listenForSignals();
  return request.command === "run"
    ? await runCommand(request.options, interrupt)
    : await stressCommand(request.options, interrupt);
}

// Whoever reads our output may stop reading; that nobody hears complaints changes no result.
process.stderr.on("error", () => {});
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") return;
  say(
    `standard output: cannot be written (${reasonOf(error)}); free the place, or write elsewhere`,
  );
  process.exit(FAILED);
});
process.exitCode = await main().catch(reportFailure);
