/**
 * package - what package.json says about this package.
 */
import { readFileSync } from "node:fs";

interface Manifest {
  readonly version: string;
  readonly description: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

function manifest(): Manifest {
  const file = new URL("../../package.json", import.meta.url);
  return JSON.parse(readFileSync(file, "utf8")) as Manifest;
}

export function version(): string {
  return manifest().version;
}

export function description(): string {
  return manifest().description;
}

/** Names of the packages that pagefold needs. */
export function dependencies(): string[] {
  return Object.keys(manifest().dependencies);
}
