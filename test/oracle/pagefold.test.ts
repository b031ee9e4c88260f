/**
 * The main claim: the same bytes, folded by pagefold and by this machine's kernel, give equal counters.
 */
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { allowed, linuxKsmUnavailable, withLinuxKsm } from "../../bench/peers/linux-ksm.js";
import { createEngine, type Engine } from "../../dist/index.js";
import { countFiles } from "./closed-form.js";

const PAGE = 4096;
const MIB = 2 ** 20;
const LIMITS = [256, 16, 2];
const ROOT = fs.mkdtempSync(join(tmpdir(), "pagefold-fold-"));
afterAll(() => fs.rmSync(ROOT, { recursive: true }));

/** What is compared: the counters that a static fill determines. */
interface Folded {
  pages_shared: number;
  pages_sharing: number;
  pages_unshared: number;
  stable_node_chains: number;
  stable_node_dups: number;
}

function folded(counters: Folded): Folded {
  const { pages_shared, pages_sharing, pages_unshared } = counters;
  const { stable_node_chains, stable_node_dups } = counters;
  return { pages_shared, pages_sharing, pages_unshared, stable_node_chains, stable_node_dups };
}

// --- what is folded -------------------------------------------------------------------------------

interface Mix {
  readonly seed: number;
  readonly pages: number;
  /** Parts of the pages: zero, and in groups of `alike`. The rest is unique. */
  readonly zero: number;
  readonly dup: number;
  readonly alike: number;
}

/** A generator of numbers in [0, 1): the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = (seed * 0x9e3779b1) | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Writes a file of pages, shuffled by the seed; most contents differ in a few bytes somewhere. */
function mixFile(name: string, mix: Mix): string {
  const random = randomFrom(mix.seed);
  const contents = Array.from({ length: mix.pages }, (_, page) => {
    if (page < mix.pages * mix.zero) return 0;
    if (page < mix.pages * (mix.zero + mix.dup)) return 1 + Math.floor(page / mix.alike);
    return mix.pages + page;
  });
  for (let i = contents.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [contents[i], contents[j]] = [contents[j], contents[i]];
  }
  const bytes = Buffer.alloc(mix.pages * PAGE);
  contents.forEach((content, page) => {
    if (content === 0) return;
    bytes.fill(content % 3 === 0 ? 0 : 0x5a, page * PAGE, (page + 1) * PAGE);
    bytes.writeUInt32LE(content, page * PAGE + ((content * 1364) % 4092));
  });
  const file = join(ROOT, name);
  fs.writeFileSync(file, bytes);
  return file;
}

/** Files of this installation, in a fixed order, up to so many bytes. */
function installedFiles(limit: number): string[] {
  const root = join(import.meta.dirname, "../../node_modules");
  const files: string[] = [];
  let bytes = 0;
  const names = fs.readdirSync(root, { recursive: true, encoding: "utf8" }).sort();
  for (const name of names) {
    const file = join(root, name);
    const stat = fs.lstatSync(file);
    if (!stat.isFile() || stat.size === 0 || bytes + stat.size > limit) continue;
    files.push(file);
    bytes += stat.size;
  }
  return files;
}

/** The first bytes of the node executable, twice: the second time from its second MiB on. */
function executable(): string[] {
  const bytes = Buffer.alloc(32 * MIB);
  const fd = fs.openSync(process.execPath, "r");
  const read = fs.readSync(fd, bytes, 0, bytes.length, 0);
  fs.closeSync(fd);
  return [bytes.subarray(0, read), bytes.subarray(MIB, 9 * MIB)].map((part, index) => {
    const file = join(ROOT, `node${index}`);
    fs.writeFileSync(file, part);
    return file;
  });
}

const SUBJECTS: readonly { readonly title: string; readonly files: () => string[] }[] = [
  {
    title: "a random mix of 3 MiB",
    files: () => [mixFile("mix", { seed: 1, pages: 768, zero: 0.05, dup: 0.5, alike: 7 })],
  },
  {
    title: "three guests of 2 MiB, two of them equal",
    files: () => {
      const half = { pages: 512, zero: 0.02, dup: 0.3, alike: 16 };
      const names = ["guest0", "guest1", "guest2"];
      return names.map((name, guest) => mixFile(name, { ...half, seed: guest === 2 ? 9 : 2 }));
    },
  },
  {
    // The kernel walks the whole chain of a content for each page of it: few zeros at max_page_sharing 2.
    title: "4 MiB that are mostly zeros",
    files: () => [mixFile("zeros", { seed: 3, pages: 1024, zero: 0.8, dup: 0.1, alike: 3 })],
  },
  {
    title: "6 MiB of many copies",
    files: () => [mixFile("dups", { seed: 4, pages: 1536, zero: 0, dup: 1, alike: 300 })],
  },
  { title: "files of node_modules", files: () => installedFiles(12 * MIB) },
  { title: "the node executable's first 32 MiB, and 8 of them again", files: executable },
];

// --- the two folders ------------------------------------------------------------------------------

/** A guest for each file, every page of it present, the last one filled up with zeros. */
function load(engine: Engine, files: readonly string[]): void {
  for (const file of files) {
    const bytes = fs.readFileSync(file);
    const padded = Buffer.alloc(Math.ceil(bytes.length / PAGE) * PAGE);
    bytes.copy(padded);
    engine.createGuest({ bytes: padded.length }).write(0, padded);
  }
}

async function foldByPagefold(files: readonly string[], maxPageSharing: number): Promise<Folded> {
  const engine = await createEngine({
    memoryPerNode: 64 * MIB,
    maxGuests: files.length,
    maxVcpus: files.length,
    workers: false,
    ksm: { run: 1, maxPageSharing },
  });
  try {
    load(engine, files);
    const counters = engine.ksm.scanSync(2);
    expect((await engine.check()).problems).toEqual([]);
    expect(counters.pages_volatile).toBe(0);
    // A third pass and what settling takes change nothing more.
    await engine.settled();
    expect(folded(engine.stats().counters)).toEqual(folded(counters));
    return folded(counters);
  } finally {
    await engine.close();
  }
}

async function foldByKernel(files: readonly string[], maxPageSharing: number): Promise<Folded> {
  const outcome = await withLinuxKsm((ksm) => ksm.fold({ files, maxPageSharing }));
  return folded(allowed(outcome).counters);
}

const reason = linuxKsmUnavailable();
const title =
  reason === null ? "pagefold and the kernel" : `pagefold alone (the kernel: ${reason})`;

describe(title, { timeout: 400_000 }, () => {
  describe.each(SUBJECTS)("$title", (subject) => {
    it.each(LIMITS)("at max_page_sharing %i: pagefold gives the closed form", async (limit) => {
      const files = subject.files();
      expect(await foldByPagefold(files, limit)).toEqual(
        folded(countFiles(files).closedForm(limit)),
      );
    });

    it.skipIf(reason !== null).each(LIMITS)("at max_page_sharing %i: equal", async (limit) => {
      const files = subject.files();
      expect(await foldByPagefold(files, limit)).toEqual(await foldByKernel(files, limit));
    });
  });
});
