/**
 * `pagefold stress` as a user runs it: a short one finds nothing, and one in a memory that loses bytes finds that.
 */
import fs from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { describe, expect, it } from "vitest";
import type { StressDocument } from "../../dist/cli/stress/document.js";
import { fresh, MAIN, pagefold } from "./command.js";
// @ts-expect-error: plain JavaScript, because commands preload it
import { SPOILED_BYTE } from "./spoiler.mjs";
import { hasTerminal, onTerminal } from "./terminal.js";

const schema = JSON.parse(
  fs.readFileSync(new URL("../../schema/stress.schema.json", import.meta.url), "utf8"),
);
const validate = new Ajv2020({ allErrors: true, strict: true, allowUnionTypes: true }).compile(
  schema,
);

const SPOILER = new URL("spoiler.mjs", import.meta.url);

describe("a stress", () => {
  it("of two seconds finds nothing, and says what it did", async () => {
    const args = ["stress", "--seconds", "2", "--seed", "7", "--migrators", "2", "--json"];
    const { status, stdout, stderr } = await pagefold(args);
    expect(stderr).toBe("");
    const document = JSON.parse(stdout) as StressDocument;
    validate(document);
    expect(validate.errors ?? []).toEqual([]);
    expect(Object.keys(document)).toEqual(Object.keys(schema.properties));
    expect(document).toMatchObject({
      ...{ schema: "pagefold.stress/1", seed: 7, interrupted: false },
      plan_digest: "d74a1837e906c67309cbcb254498e0ac415861a52f1920a637c6f6b0ff7c9021",
      actors: { nodes: 2, guests: 4, vcpus: 8, ksmd: 1, migrators: 2 },
      ...{ mismatches: 0, failure: null },
      options: {
        seconds: 2,
        memory_per_node: 2 ** 24,
        block_bytes: 2 ** 21,
        pages_per_guest: 1024,
      },
    });
    const { operations, checks, migrations } = document;
    expect(operations.total).toBe(operations.writes + operations.reads + operations.pins);
    expect(checks.clean).toBe(checks.done);
    expect(checks.done).toBeGreaterThan(0);
    expect(migrations.shared).toBeLessThanOrEqual(migrations.succeeded);
    expect(document.seconds).toBeGreaterThanOrEqual(2);
    expect(status).toBe(0);
  });

  it("in a memory that loses bytes fails, names the page, and dumps the machine", async () => {
    const dump = fresh("dump");
    const size = ["--guests", "2", "--vcpus", "1", "--memory-per-node", "4M"];
    const args = ["stress", "--seconds", "60", "--seed", "7", ...size, "--json", "--dump", dump];
    const env = { ...process.env, NODE_OPTIONS: `--import ${SPOILER}` };
    const { status, stdout, stderr } = await pagefold(args, { env });
    const document = JSON.parse(stdout) as StressDocument;
    validate(document);
    expect(validate.errors ?? []).toEqual([]);
    const { failure, mismatches } = document;
    expect(mismatches).toBeGreaterThan(0);
    expect(failure).toMatchObject({ kind: "mismatch", problems: [] });
    const page = failure?.page as NonNullable<NonNullable<typeof failure>["page"]>;
    expect(page.offset).toBe(SPOILED_BYTE - (SPOILED_BYTE % 4));
    const others = ~(0xff << (8 * (SPOILED_BYTE % 4)));
    if (page.expected !== null) expect(page.found & others).toBe(page.expected & others);
    const lines = stderr.trimEnd().split("\n");
    expect(lines[0]).toBe(`pagefold: ${failure?.message}`);
    expect(lines[0]).toMatch(
      new RegExp(
        `^pagefold: guest ${page.guest}: page ${page.gfn} \\(version ${page.version}\\) is wrong`,
      ),
    );
    expect(lines.at(-1)).toBe(
      "pagefold: again: pagefold stress --seed 7 --seconds 60 --nodes 2 --guests 2 --vcpus 1 " +
        "--migrators 1 --memory-per-node 4194304",
    );
    const written = JSON.parse(fs.readFileSync(dump, "utf8"));
    expect(written.document).toEqual(document);
    const { ptes, frames } = written;
    const pte = ptes.find(
      ({ guest, gfn }: { guest: number; gfn: number }) => guest === page.guest && gfn === page.gfn,
    );
    const frame = frames.find(({ pfn }: { pfn: number }) => pfn === pte.pfn);
    expect(frame).toMatchObject({ pfn: pte.pfn, free: false });
    expect(written.events.at(-1).what).toBe(`failed: ${failure?.message}`);
    expect(status).toBe(1);
  });
});

describe.skipIf(!hasTerminal)("a stress on a terminal", () => {
  it("tells its rates, and at Ctrl-C what was done; nothing of the line stays", async () => {
    const command = [process.execPath, MAIN, "stress", "--seconds", "0", "--memory-per-node", "2M"];
    const actions = [{ after: "stressing, round 2", type: "\x03" }];
    const seen = await onTerminal(command, { columns: 100, actions });
    expect(seen.frames.join("\n")).toMatch(/ stressing, round 1 .*[\d,]+ operations\/s/);
    expect(seen.screen.filter((line) => line.includes("stressing"))).toEqual([]);
    expect(seen.screen[0]).toMatch(
      /^ended +INTERRUPTED after [\d.]+ s; all that was begun was checked$/,
    );
    expect(seen.screen).toContain("pagefold: interrupted; the result is what was done by then");
    expect([seen.folded, seen.status]).toEqual([0, 130]);
  });
});
