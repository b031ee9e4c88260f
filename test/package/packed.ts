/**
 * packed - the package as npm makes it, and a folder where it is installed, made once a test file.
 *
 * Versions of the dependencies come from this repository's lock, so that nothing depends on the day; what is
 * optional is left out, so that nothing depends on the machine.
 */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll } from "vitest";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const run = promisify(execFile);

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly bin: Record<string, string>;
  readonly dependencies: Record<string, string>;
  readonly scripts: Record<string, string>;
}

export const MANIFEST: Manifest = JSON.parse(fs.readFileSync(join(ROOT, "package.json"), "utf8"));

export interface Packed {
  /** The tarball's path. */
  readonly tarball: string;
  /** Paths in the package, sorted. */
  readonly files: readonly string[];
  readonly packedBytes: number;
  readonly unpackedBytes: number;
}

let folder: string | undefined;

/** A folder that is removed when the test file ends. */
export function temporary(): string {
  folder ??= fs.mkdtempSync(join(os.tmpdir(), "pagefold-package-"));
  return fs.mkdtempSync(join(folder, "d"));
}

afterAll(() => {
  if (folder !== undefined) fs.rmSync(folder, { recursive: true, force: true });
  folder = undefined;
});

function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

/** Packs what is built. */
export const packed = once(async (): Promise<Packed> => {
  const target = temporary();
  // Without scripts: packing builds, and the build is what is tested.
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", target];
  const { stdout } = await run("npm", args, { cwd: ROOT });
  const [{ filename, files, size, unpackedSize }] = JSON.parse(stdout);
  return {
    tarball: join(target, filename),
    files: files.map(({ path }: { path: string }) => path).sort(),
    packedBytes: size,
    unpackedBytes: unpackedSize,
  };
});

/** The lock of a project whose one dependency is the tarball. */
function lockOf(dependency: string): object {
  const { packages } = JSON.parse(fs.readFileSync(join(ROOT, "package-lock.json"), "utf8"));
  const { name, version, bin, dependencies } = MANIFEST;
  const shipped = Object.entries<{ dev?: boolean }>(packages).filter(
    ([path, { dev }]) => path !== "" && dev !== true,
  );
  return {
    ...{ name: "app", lockfileVersion: 3, requires: true },
    packages: {
      "": { name: "app", dependencies: { [name]: dependency } },
      ...Object.fromEntries(shipped),
      [`node_modules/${name}`]: { version, resolved: dependency, bin, dependencies },
    },
  };
}

/** Installs the tarball in a folder of its own, which is no part of this repository. */
export const installed = once(async (): Promise<string> => {
  const { tarball } = await packed();
  const app = temporary();
  const dependency = `file:${tarball}`;
  const project = { name: "app", private: true, dependencies: { [MANIFEST.name]: dependency } };
  fs.writeFileSync(join(app, "package.json"), JSON.stringify(project));
  fs.writeFileSync(join(app, "package-lock.json"), JSON.stringify(lockOf(dependency)));
  const quiet = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await run("npm", ["ci", "--omit=optional", "--ignore-scripts", ...quiet], { cwd: app });
  return app;
});
