/**
 * fold - pages folded per second, phase by phase: pagefold, the kernel's KSM and stock JavaScript over the
 * same bytes, in interleaved rounds.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Case, Plan } from "../case.js";
import { count } from "../format.js";
import { createPages, MIXES, type Mix } from "../mix.js";
import { foldByKernel } from "../subjects/kernel.js";
import { foldByPagefold } from "../subjects/pagefold.js";
import type { FoldTimes } from "../subjects/passes.js";
import { foldByStock } from "../subjects/stock.js";
import { interleave } from "../summary.js";
import type { Finding } from "../table.js";
import { findingOf, type Round } from "./fold-finding.js";

export const foldCases: readonly Case[] = MIXES.map((mix) => ({
  name: `fold/${mix.name}`,
  usesKernel: true,
  run: (plan) => fold(mix, plan),
}));

async function fold(mix: Mix, plan: Plan): Promise<Finding> {
  const { pages } = plan;
  plan.tell(`${mix.name}: making ${count(pages)} pages`);
  const source = createPages(mix, pages);
  const file = new PageFile();
  try {
    let refused = plan.kernelRefused ?? file.write(source);
    const rounds: Round[] = [];
    let pagefold: FoldTimes;
    let kernel: FoldTimes | null;
    const done = await interleave(
      [
        async (round) => {
          plan.tell(`${mix.name}, round ${round + 1}: pagefold`);
          pagefold = await foldByPagefold(mix, source);
        },
        async (round) => {
          kernel = null;
          if (refused !== null) return;
          plan.tell(`${mix.name}, round ${round + 1}: kernel KSM`);
          const folded = await foldByKernel(mix, file.path, pages, plan.kernel);
          if (typeof folded === "string") refused = folded;
          else kernel = folded;
        },
        (round) => {
          plan.tell(`${mix.name}, round ${round + 1}: stock JavaScript`);
          rounds.push({ pagefold, kernel, stock: foldByStock(mix, source) });
        },
      ],
      { rounds: plan.rounds, seconds: plan.seconds },
    );
    const dropped = plan.kernelRefused === null ? refused : null;
    return findingOf(mix, pages, rounds.slice(0, done), dropped);
  } finally {
    file.remove();
  }
}

/** The pages as a file, for the kernel's process to read: there from `write` until `remove` or exit. */
class PageFile {
  #folder: string | null = null;
  readonly #onExit = (): void => this.#delete();

  get path(): string {
    return join(this.#folder ?? "", "pages");
  }

  /** Writes it; a sentence if that fails. */
  write(source: SharedArrayBuffer): string | null {
    try {
      this.#folder = mkdtempSync(join(tmpdir(), "pagefold-bench-"));
      process.on("exit", this.#onExit);
      writeFileSync(this.path, Buffer.from(source));
      return null;
    } catch (error) {
      return `the pages for the kernel could not be written: ${(error as Error).message}`;
    }
  }

  remove(): void {
    process.off("exit", this.#onExit);
    this.#delete();
  }

  #delete(): void {
    if (this.#folder !== null) rmSync(this.#folder, { recursive: true, force: true });
  }
}
