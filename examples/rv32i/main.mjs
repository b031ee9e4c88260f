/**
 * main - 32 guests of one RISC-V program on two nodes. They boot and answer questions while ksmd folds their
 * memory behind them; every word that they say is checked. Run it: node main.mjs
 */
import { readFileSync } from "node:fs";
import { createEngine, PAGE_SIZE } from "pagefold";
import { expectedAnswer, expectedGreeting } from "./answers.mjs";
import { parseElf } from "./elf.mjs";

const GUESTS = 32;
const INTERPRETER = new URL("./guest.mjs", import.meta.url);
const file = readFileSync(new URL("./program/program.elf", import.meta.url));
const program = parseElf(file);

const engine = await createEngine({
  nodes: 2,
  memoryPerNode: 8 * 2 ** 20,
  // Leaves the nodes some time: this demonstration may have two cores for three busy threads.
  ksm: { run: 1, pagesToScan: 4096, sleepMillisecs: 10, maxPageSharing: 4096 },
});
try {
  const guests = Array.from({ length: GUESTS }, () => engine.createGuest({ bytes: program.end }));
  for (const guest of guests) {
    for (const { address, bytes } of program.segments) guest.write(address, bytes);
  }
  console.log(
    `${GUESTS} guests of one RV32I program of ${number(file.length)} bytes, on 2 nodes\n`,
  );

  const greeting = expectedGreeting(program.segments[0].bytes);
  const booted = await runAll("boot", guests, () => ({
    args: { cpu: { pc: program.entry }, input: "", inputEnds: false },
    says: greeting,
    reason: "input",
  }));
  console.log(`          all say: ${shortened(greeting)}`);
  await fold();

  const question = (i) => 100 + 350 * i;
  await runAll("answer", guests, (i) => ({
    args: { cpu: booted[i].cpu, input: `${question(i)}\n`, inputEnds: true },
    says: expectedAnswer(question(i)),
    reason: "exit",
  }));
  for (const i of [0, 1, GUESTS - 1]) {
    console.log(`          guest ${i} says: ${shortened(expectedAnswer(question(i)))}`);
  }
  await fold();

  const { clean } = await engine.check();
  console.log(`check     ${clean ? "clean" : "NOT clean"}`);
} finally {
  await engine.close();
}

/** Runs the program in all guests at once; each must say and end as it should. */
async function runAll(title, guests, taskOf) {
  const before = engine.stats().counters;
  const started = performance.now();
  const tasks = guests.map((_, i) => taskOf(i));
  const results = await Promise.all(guests.map((each, i) => each.run(INTERPRETER, tasks[i].args)));
  const seconds = (performance.now() - started) / 1000;
  results.forEach(({ reason, output, trap }, i) => {
    if (reason === tasks[i].reason && output === tasks[i].says) return;
    const end = JSON.stringify(trap ?? reason);
    throw new Error(`guest ${i} ended by ${end} and said ${output}, not ${tasks[i].says}`);
  });
  const millions = results.reduce((sum, { retired }) => sum + retired, 0) / 1e6;
  const after = engine.stats().counters;
  console.log(
    `${title.padEnd(10)}${millions.toFixed(1)} million instructions in ${seconds.toFixed(1)} s: ` +
      `${Math.round(millions / seconds)} million a second\n` +
      `          meanwhile ksmd merged ${number(after.pages_merged - before.pages_merged)} pages, ` +
      `${number(after.cow_ksm - before.cow_ksm)} were written and copied again`,
  );
  return results;
}

/** Waits until everything equal is merged, and says what that saves. */
async function fold() {
  await engine.settled();
  const { counters, frames } = engine.stats();
  const pages = frames.used + counters.pages_sharing;
  const share = ((100 * counters.pages_sharing) / pages).toFixed(1);
  console.log(
    `folded    ${number(pages)} pages lie in ${number(frames.used)} frames: pages_sharing ` +
      `${number(counters.pages_sharing)} x ${PAGE_SIZE} bytes, ${share} % saved\n`,
  );
}

function number(value) {
  return value.toLocaleString("en-US");
}

/** A line of output with its SHA-256 cut short. */
function shortened(line) {
  return line.trimEnd().replace(/([0-9a-f]{8})[0-9a-f]{56}/, "$1...");
}
