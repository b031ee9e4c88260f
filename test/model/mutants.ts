/** mutants - runs scenarios as they are, and on edited sources that they must refuse. */
import { describe, it } from "vitest";
import type { Bounds, Scenario } from "./explorer.js";
import { type Edit, loadProduction, type Production } from "./loader.js";
import { expectKilled, expectSafe } from "./machine.js";

export type Build = (production: Production) => Scenario;

/** Every interleaving within the bounds is right. */
export function mustHold(name: string, build: Build, bounds: Bounds, ...edits: Edit[]): void {
  it(name, async () => {
    expectSafe(build(await loadProduction(...edits)), bounds);
  });
}

export interface Mutant {
  readonly name: string;
  readonly edits: readonly Edit[];
  readonly build: Build;
  /** The violation it must be caught by. */
  readonly what: RegExp;
}

/** Each mutant is caught, at the bounds at which the unedited source holds. */
export function mustFail(title: string, bounds: Bounds, mutants: readonly Mutant[]): void {
  describe(`${title} must fail`, () => {
    for (const { name, edits, build, what } of mutants) {
      it(name, async () => {
        expectKilled(build(await loadProduction(...edits)), bounds, what);
      });
    }
  });
}

/** An edit of one file. */
export function edit(file: string, find: string, replace: string): Edit {
  return { file, find, replace };
}

/** A mutant of these edits: file, text, replacement. */
export function mutant(
  name: string,
  build: Build,
  what: RegExp,
  ...changes: (readonly [file: string, find: string, replace: string])[]
): Mutant {
  return { name, build, what, edits: changes.map((change) => edit(...change)) };
}

/** A text of several lines. */
export function lines(...texts: readonly string[]): string {
  return texts.join("\n");
}
