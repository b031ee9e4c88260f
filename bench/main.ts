/** main - measures what was asked for and prints it. */
import { writeFileSync } from "node:fs";
import type { Case, Plan } from "./case.js";
import { foldCases } from "./cases/fold.js";
import { hashCase } from "./cases/hash.js";
import { microCase } from "./cases/micro.js";
import { migrateCase } from "./cases/migrate.js";
import type { Document } from "./document.js";
import { availableMemory, describeMachine } from "./machine.js";
import { PAGE } from "./mix.js";
import { BadOption, type Options, parseOptions } from "./options.js";
import { linuxKsmUnavailable } from "./peers/linux-ksm.js";
import { kernelPlace } from "./subjects/kernel.js";
import type { Finding } from "./table.js";
import { renderFloors, renderFooter, renderHeader, renderTable } from "./text.js";

const CASES: readonly Case[] = [hashCase, ...foldCases, migrateCase, microCase];

const DONE = 0;
const VOID_ROWS = 1;
const BAD_OPTION = 2;
const SIGNALS = { SIGINT: 130, SIGTERM: 143 } as const;

/** The pages, a file of them, the engine's and the kernel's: bytes needed for each byte that is folded. */
const COPIES = 5;
const QUICK_PAGES = 2048;
const SIZES = [262_144, 65_536, 16_384, QUICK_PAGES];
const ROUNDS = 5;
/** For each mix: all three leave half a minute of three for the rest. */
const SECONDS = 46;

/** What bench.mjs, which bundles this, gives it. */
export interface Surroundings {
  /** The repository. */
  readonly root: string;
  readonly compileRoofline: Plan["compileRoofline"];
}

/** Runs the command; returns its exit status. */
export async function main(args: readonly string[], here: Surroundings): Promise<number> {
  const names = CASES.map(({ name }) => name);
  let options: Options | null;
  try {
    options = parseOptions(args, names);
  } catch (error) {
    if (!(error instanceof BadOption)) throw error;
    process.stderr.write(`bench: ${error.message}\n`);
    return BAD_OPTION;
  }
  if (options === null) return DONE;
  // Exit handlers give the kernel's knobs back and remove files.
  for (const [name, status] of Object.entries(SIGNALS)) {
    process.on(name, () => process.exit(status));
  }
  // Whoever reads the output may stop reading.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(DONE);
  });
  const document = await measure(options, here);
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(document, null, 2)}\n`);
  return document.problems.length === 0 ? DONE : VOID_ROWS;
}

/** Measures what was chosen, and prints each table when it is there. */
async function measure({ quick, filter }: Options, here: Surroundings): Promise<Document> {
  const started = performance.now();
  const chosen = CASES.filter(({ name }) => filter === null || name.includes(filter));
  const plan = planFor(quick, here);
  const start = {
    ...{
      format: 1 as const,
      machine: describeMachine(here.root),
      started: new Date().toISOString(),
    },
    ...{ quick, filter, kernelRefused: plan.kernelRefused },
  };
  print(
    renderHeader(
      start,
      chosen.some((each) => each.usesKernel),
    ),
  );
  const findings: Finding[] = [];
  for (const each of chosen) {
    const finding = await each.run(plan);
    plan.tell("");
    print(renderTable(finding.table));
    findings.push(finding);
  }
  const document: Document = {
    ...start,
    seconds: (performance.now() - started) / 1000,
    tables: findings.map(({ table }) => table),
    floors: findings.flatMap(({ floors }) => floors),
    problems: findings.flatMap(({ problems }) => problems),
  };
  if (document.floors.length > 0) print(renderFloors(document.floors));
  print(renderFooter(document));
  return document;
}

function planFor(quick: boolean, { root, compileRoofline }: Surroundings): Plan {
  const room = availableMemory() / (COPIES * PAGE);
  const kernel = kernelPlace(root, quick);
  return {
    quick,
    pages: quick ? QUICK_PAGES : (SIZES.find((pages) => pages <= room) ?? QUICK_PAGES),
    rounds: quick ? 1 : ROUNDS,
    seconds: SECONDS,
    kernel,
    kernelRefused: linuxKsmUnavailable(kernel),
    compileRoofline,
    tell: (what) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${what}`);
    },
  };
}

function print(text: string): void {
  process.stdout.write(`${text}\n\n`);
}
