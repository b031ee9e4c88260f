/**
 * What `pagefold run` finds: the closed form of spec 2.23 on memory made from numbers, and on files.
 * Several runs at a time: most of each is waiting for threads to start.
 */
import fs from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import { count } from "../../dist/cli/screen/figures.js";
import { ContentCounts, closedForm, countFiles } from "../oracle/closed-form.js";
import { documentOf, fileOf, fresh, PAGE, pagefold, pagesOf } from "./command.js";

interface Fill {
  readonly pages: number;
  readonly dup: number;
  readonly alike: number;
  readonly zero: number;
  readonly seed?: number;
  readonly guests: number;
}

function specOf(fill: Fill): string {
  const pairs = Object.entries(fill).map(([key, value]) => `${key}=${value}`);
  return `synth:${pairs.join(",")}`;
}

/** How often each content of a fill occurs, over all of its guests. */
function countsOf({ pages, dup, alike, zero, guests }: Fill): number[] {
  const zeros = Math.round(zero * pages);
  const dups = Math.min(Math.round(dup * pages), pages - zeros);
  const groups = Array.from({ length: Math.floor(dups / alike) }, () => alike);
  const unique = Array.from({ length: pages - zeros - dups }, () => 1);
  return [zeros, ...groups, dups % alike, ...unique].map((count) => guests * count);
}

const FILLS: readonly Fill[] = [
  { pages: 4096, dup: 0.5, alike: 16, zero: 0.1, guests: 2 },
  { pages: 3000, dup: 0.333, alike: 7, zero: 0.0335, seed: 99, guests: 1 },
  { pages: 2001, dup: 0.75, alike: 1000, zero: 0.25, seed: 0, guests: 1 },
  { pages: 1000, dup: 0, alike: 1, zero: 0, guests: 3 },
  { pages: 600, dup: 1, alike: 600, zero: 0, seed: 4294967295, guests: 1 },
];

describe.concurrent.each([256, 16, 2])("the closed form at max_page_sharing %i", (sharing) => {
  it.each(FILLS)("of %o", async (fill) => {
    const args = [specOf(fill), "--max-page-sharing", String(sharing)];
    const document = await documentOf(args);
    const counts = countsOf(fill);
    expect(document.counters).toMatchObject(closedForm(counts, sharing));
    const pages = fill.pages * fill.guests;
    const present = counts.filter((count) => count > 0);
    expect(document).toMatchObject({
      ...{ pages, settled: true, interrupted: false, zero_pages: counts[0], check: "clean" },
      ...{
        saved_zero_bytes: closedForm([counts[0] ?? 0], sharing).pages_sharing * PAGE,
        unreadable_pages: 0,
      },
      verify: { pages, mismatches: 0 },
    });
    expect(document.histogram.reduce((sum, { contents }) => sum + contents, 0)).toBe(
      present.length,
    );
    for (const { copies_min: min, copies_max: max, contents } of document.histogram) {
      expect(contents).toBe(present.filter((count) => count >= min && count <= max).length);
    }
    expect(document.passes).toBe(3);
    expect(document.counters.pages_scanned).toBe(3 * pages);
  });
});

describe.concurrent("files", () => {
  it("with tails, each from the beginning of a page on", async () => {
    const text = Buffer.from("what is left of a page is filled up with zeros");
    const tail = fileOf("tail", Buffer.concat([pagesOf(1, 1, 2), text]));
    const image = fileOf("image", Buffer.concat([pagesOf(0, 2, 3), text, Buffer.alloc(PAGE - 1)]));
    const padding = (path: string, bytes: number) =>
      `${path}: ${count(bytes)} zero bytes fill up its last page`;
    const document = await documentOf([tail, image]);
    expect(document.notes).toEqual([
      padding(tail, PAGE - text.length),
      padding(image, PAGE - text.length + 1),
    ]);
    const counts = countFiles([tail, image]);
    expect(document.counters).toMatchObject(counts.closedForm(256));
    expect(document.zero_pages).toBe(counts.byContent.get(ContentCounts.zero));
    expect(document.guests).toMatchObject([
      { name: "tail", source: tail, bytes: 3 * PAGE + text.length, pages: 4, node: 0 },
      { name: "image", source: image, pages: 5, padded_bytes: PAGE - text.length + 1, node: 1 },
    ]);
  });

  it("larger than a chunk, with a hole, on one node and on three", async () => {
    const path = fresh("large");
    const fd = fs.openSync(path, "w");
    for (let page = 0; page < 700; page++) {
      const at = page < 350 ? page : page + 1000;
      fs.writeSync(fd, Buffer.alloc(PAGE, page % 50), 0, PAGE, at * PAGE);
    }
    fs.closeSync(fd);
    const expected = countFiles([path, path]).closedForm(256);
    for (const nodes of [1, 3]) {
      const document = await documentOf([path, path, "--nodes", String(nodes)]);
      expect(document.counters).toMatchObject(expected);
      expect(document.options.nodes).toBe(nodes);
      expect(document.nodes).toHaveLength(nodes);
    }
  });

  it("named twice, or alike, are guests of different names", async () => {
    const [one, other] = [fileOf("image", pagesOf(1)), fileOf("image", pagesOf(2))];
    const third = fileOf("image#2", pagesOf(3));
    const synth = "synth:pages=5";
    const { guests, counters } = await documentOf([one, one, other, third, synth, synth]);
    const names = guests.map(({ name }) => name);
    const synths = ["synth", "synth#2", "synth#3", "synth#4"];
    expect(names).toEqual(["image", "image#3", "image#4", "image#2", ...synths]);
    expect(counters.pages_sharing).toBeGreaterThan(1);
  });
});

describe.concurrent("synth", () => {
  it("with one seed is the same memory, with another it is not", async () => {
    const of = (...seeds: number[]) =>
      documentOf(seeds.map((seed) => `synth:pages=500,dup=0,zero=0,guests=1,seed=${seed}`));
    expect((await of(7, 7)).counters).toMatchObject({ pages_shared: 500, pages_sharing: 500 });
    expect((await of(7, 8)).counters).toMatchObject({ pages_shared: 0, pages_unshared: 1000 });
  });

  it("has documented values for the keys that are left out", async () => {
    const [short, long] = [
      await documentOf(["synth:pages=900"]),
      await documentOf(["synth:pages=900,dup=0.5,alike=16,zero=0.1,seed=1,guests=2"]),
    ];
    expect(short.counters).toEqual(long.counters);
    expect((await pagefold(["run", "--help"])).stdout).toContain(
      "synth:pages=65536,dup=0.5,alike=16,zero=0.1,seed=1,guests=2\n",
    );
  });
});

describe("migrators", () => {
  const spec = "synth:pages=20000,dup=0.5,alike=16,zero=0.1,guests=2";
  const counts = countsOf({ pages: 20_000, dup: 0.5, alike: 16, zero: 0.1, guests: 2 });

  it("that move frames at random change no counter of merging, and no byte", async () => {
    const document = await documentOf([spec, "--migrators", "2", "--policy", "chaos"]);
    expect(document.counters).toMatchObject(closedForm(counts, 256));
    expect(document).toMatchObject({
      ...{ settled: true, verify: { pages: 40_000, mismatches: 0 }, check: "clean" },
      options: { migrators: 2, policies: ["chaos"], merge_across_nodes: 1 },
      memory: { released_bytes: 0 },
    });
    expect(document.migrations.succeeded).toBeGreaterThan(0);
  });

  it("empty blocks, whose memory goes back to the system", async () => {
    const { memory, frames, nodes, migrations, options } = await documentOf([spec]);
    expect(options).toMatchObject({ migrators: 1, policies: ["compact"] });
    // Three quarters of 40,000 frames are free; all but the rest of a block a node went back.
    expect(memory.released_bytes).toBeGreaterThan(0.6 * 40_000 * PAGE);
    expect(memory.released_bytes + memory.reusable_bytes).toBe((40_000 - frames.used) * PAGE);
    expect(migrations.succeeded).toBeGreaterThan(0);
    const { rss_before_bytes: before = 0, rss_after_bytes: after = 0 } = memory;
    const fall = Number(before) - Number(after);
    expect(fall).toBeGreaterThan(0.5 * memory.released_bytes);
    expect(nodes.map(({ node, pages }) => [node, pages])).toEqual([
      [0, 20_000],
      [1, 20_000],
    ]);
  });

  it("do nothing when there are none, or no policy", async () => {
    const none = {
      succeeded: 0,
      failed: { pinned: 0, busy: 0, no_frame: 0, raced: 0, timeout: 0 },
    };
    for (const args of [
      ["--migrators", "0"],
      ["--policy", "off"],
    ]) {
      const { memory, migrations, options } = await documentOf(["synth:pages=300", ...args]);
      expect(options.policies).toEqual([]);
      expect(migrations).toEqual(none);
      expect(memory.released_bytes).toBe(0);
    }
  });

  it("or not, pages are merged on their own node alone if that is asked for", async () => {
    const own = countsOf({ pages: 20_000, dup: 0.5, alike: 16, zero: 0.1, guests: 1 });
    const document = await documentOf([spec, "--merge-across-nodes", "0"]);
    const { pages_shared, pages_sharing, pages_unshared } = closedForm(own, 256);
    expect(document.counters).toMatchObject({
      pages_shared: 2 * pages_shared,
      pages_sharing: 2 * pages_sharing,
      pages_unshared: 2 * pages_unshared,
    });
    expect(document.guests.map(({ remote_pages }) => remote_pages)).toEqual([0, 0]);
  });
});

describe.concurrent("the document", () => {
  const schema = JSON.parse(
    fs.readFileSync(new URL("../../schema/run.schema.json", import.meta.url), "utf8"),
  );
  const validate = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(
    schema,
  );

  it.each([
    { args: [] },
    { args: ["--no-verify"] },
    { args: ["--passes", "1"] },
    { args: ["--kernels", "xxhash-wasm", "--nodes", "1"] },
  ])("is of the schema with %o", async ({ args }) => {
    const document = await documentOf(["synth:pages=300", ...args]);
    validate(document);
    expect(validate.errors ?? []).toEqual([]);
  });

  it("has every key that the schema names, and guards each of them", async () => {
    const document = await documentOf(["synth:pages=300"]);
    for (const key of Object.keys(schema.properties)) {
      const { [key as keyof typeof document]: _, ...without } = document;
      expect(validate(without)).toBe(false);
    }
    expect(Object.keys(document)).toEqual(Object.keys(schema.properties));
    expect(validate({ ...document, pages: -1 })).toBe(false);
    expect(validate({ ...document, added: "later" })).toBe(true);
  });

  it("names what the run used", async () => {
    const args = ["--hash", "xxh64", "--kernels", "typescript", "--max-page-sharing", "9"];
    const document = await documentOf(["synth:pages=300", ...args]);
    const manifest = new URL("../../package.json", import.meta.url);
    const { version } = JSON.parse(fs.readFileSync(manifest, "utf8"));
    expect(document).toMatchObject({
      ...{ schema: "pagefold.run/1", kernels: "typescript", hash: "xxh64" },
      options: { nodes: 2, max_page_sharing: 9, passes: null, pages_to_scan: null, verify: true },
      versions: { pagefold: version, node: process.versions.node, v8: process.versions.v8 },
    });
    // The larger need of the two nodes, an eighth more, and whole blocks.
    expect(document.options.memory_per_node).toBeGreaterThanOrEqual(300 * PAGE * 1.125);
    expect(document.options.memory_per_node).toBeLessThan(300 * PAGE * 1.125 * 2 + PAGE);
  });
});

describe.concurrent("passes", () => {
  it.each([1, 2, 5])("%i of them, no more", async (passes) => {
    const document = await documentOf(["synth:pages=300", "--passes", String(passes)]);
    expect(document).toMatchObject({ passes, settled: passes > 2, options: { passes } });
    expect(document.counters.pages_volatile).toBe(passes === 1 ? 600 : 0);
    const { timing } = document;
    expect(timing.merge_pass_seconds === null).toBe(passes === 1);
    expect(timing.settle_seconds === null).toBe(passes < 3);
  });

  it("with pauses between batches", async () => {
    const args = ["synth:pages=300", "--pages-to-scan", "200", "--sleep-millisecs", "20"];
    const settled = await documentOf(args);
    expect(settled.options).toMatchObject({ pages_to_scan: 200, sleep_millisecs: 20 });
    // Three passes of three batches, a pause after each but the last; messages may cut some short.
    expect(settled.timing.settle_seconds).toBeGreaterThan(0.08);
    const some = await documentOf([...args, "--passes", "3"]);
    for (const document of [settled, some]) {
      // More may have ended before ksmd heard that it is enough.
      expect(document.passes).toBeGreaterThanOrEqual(3);
      expect(document.settled).toBe(true);
      expect(document.counters.pages_unshared).toBe(0);
    }
  });

  it("say what they took", async () => {
    const { timing } = await documentOf(["synth:pages=3000"]);
    const { first_pass_seconds: first, merge_pass_seconds: merge, settle_seconds: all } = timing;
    expect(all).toBeGreaterThanOrEqual((first ?? 0) + (merge ?? 0));
    const { scan_pages_per_second: raw, effective_pages_per_second: effective } = timing;
    // Every page is visited three times and hashed once.
    expect((effective ?? 0) / (raw ?? 1)).toBeCloseTo(3, 5);
  });

  it("without verifying", async () => {
    const document = await documentOf(["synth:pages=300", "--no-verify"]);
    expect(document).toMatchObject({ verify: null, check: "clean", options: { verify: false } });
    expect(document.timing.verify_seconds).toBeNull();
  });
});

describe.concurrent("options", () => {
  it("--memory-per-node is what each node gets, in whole blocks", async () => {
    const args = ["--memory-per-node", "3500K", "--policy", "off"];
    const document = await documentOf(["synth:pages=300", ...args]);
    expect(document.options.memory_per_node).toBe(4 * 2 ** 20);
    expect(document.nodes.map((node) => node.frames_total)).toEqual([1024, 1024]);
    expect(document.nodes.map((node) => node.blocks)).toEqual([4, 4]);
  });

  it("--seconds ends merging, and what was merged is verified", async () => {
    const pace = ["--pages-to-scan", "100", "--sleep-millisecs", "1000"];
    const document = await documentOf(["synth:pages=500", "--seconds", "0.2", ...pace]);
    expect(document).toMatchObject({ settled: false, interrupted: false, check: "clean" });
    expect(document).toMatchObject({ verify: { pages: 1000, mismatches: 0 }, passes: 0 });
    expect(document.options.seconds).toBe(0.2);
    expect(document.timing.first_pass_seconds).toBeNull();
  });

  it("--seconds and --passes: the first reached wins", async () => {
    const args = ["synth:pages=300", "--passes", "2", "--seconds", "3600"];
    expect(await documentOf(args)).toMatchObject({ passes: 2, settled: false });
  });

  it("--output gets the result, an old one is replaced", async () => {
    const path = fileOf("result", Buffer.alloc(2 ** 20, "x"));
    const args = ["run", "synth:pages=300", "--output", path];
    expect(await pagefold([...args, "--json"])).toMatchObject({
      status: 0,
      stdout: "",
      stderr: "",
    });
    expect(JSON.parse(fs.readFileSync(path, "utf8"))).toMatchObject({ pages: 600, settled: true });
    expect(await pagefold(args)).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(fs.readFileSync(path, "utf8")).toMatch(/^guest .*\n[\s\S]*0 mismatches/);
  });
});

describe("this installation", () => {
  it("is folded, and saves something", async () => {
    const { status, stdout, stderr } = await pagefold(["run", "--installation", "--json"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const document = JSON.parse(stdout);
    expect(document.notes).toEqual([
      expect.stringMatching(
        /^this installation: [\d,]+ files, [\d,]+ zero bytes fill up their last pages$/,
      ),
    ]);
    const names = document.guests.map(({ name }: { name: string }) => name);
    expect(names.slice(0, 2)).toEqual(["node executable", "pagefold"]);
    expect(names.at(-1)).toBe("other packages");
    expect(document.guests[0].bytes).toBe(fs.statSync(process.execPath).size);
    expect(document).toMatchObject({ settled: true, check: "clean", verify: { mismatches: 0 } });
    expect(document.saved_bytes).toBeGreaterThan(100 * PAGE);
  });
});
