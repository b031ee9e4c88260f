/**
 * How a run ends: what it prints for people, mismatches, signals, readers that go away.
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import type { Verified } from "../../dist/cli/programs/verify.js";
import type { FilesData } from "../../dist/cli/sources/source.js";
import { createEngine, type EngineGuest } from "../../dist/index.js";
import {
  expectSums,
  fileOf,
  MAIN,
  PAGE,
  pagefold,
  pagesOf,
  type Started,
  start,
} from "./command.js";

describe("the text", () => {
  it("has a table of guests, copies, rates, and how to read it", async () => {
    const image = fileOf("a-file-with-a-long-name.img", Buffer.concat([pagesOf(0, 0, 1)]));
    const { status, stdout, stderr } = await pagefold(["run", "synth:pages=1000", image]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const lines = stdout.split("\n");
    const words = (line: string): string => line.replace(/-{9,}/, "---").replace(/ +/g, " ");
    expect(lines.slice(0, 7).map(words)).toEqual([
      "guest node pages shared sharing unshared saved",
      "---",
      "synth 0 1,000 0 1,000 0 3.9 MiB 100.0%",
      "synth#2 1 1,000 432 568 0 2.2 MiB 56.8%",
      "a-file-wit...g-name.img 0 3 1 1 1 4 KiB 33.3%",
      "---",
      "all 2,003 433 1,569 1 6.1 MiB 78.3%",
    ]);
    expect(stdout).toMatch(/^copies +contents +pages\n-+\n1 +1 +1 +#\n2-3 +400 +800 +#{26}\n/m);
    expect(stdout).toMatch(/^merged +settled after 3 passes in [\d.]+ m?s \(first pass /m);
    const kernels = process.env.PAGEFOLD_TEST_KERNELS ?? "simd";
    expect(stdout).toMatch(/^scanned +[\d,]+ pages\/s +[\d,]+ MiB\/s {2}raw: hashed \(/m);
    expect(stdout).toContain(`raw: hashed (xxh3-64, ${kernels})\n`);
    expect(stdout).toMatch(
      /^ +[\d,]+ pages\/s +[\d,]+ MiB\/s {2}effective: visited, hashed or not$/m,
    );
    expect(stdout).toMatch(/^verified +2,003 pages read back and compared in .*: 0 mismatches$/m);
    expect(stdout).toMatch(/^ +audit of the engine: clean$/m);
    expect(stdout).toContain(
      "\nsaved     6.1 MiB of 7.8 MiB (78.3%)\n" +
        "          804 KiB in pages of zeros (there are 202)\n" +
        "          5.3 MiB in other equal pages\n",
    );
    expect(stdout).toMatch(/^How to read it: saved = pages_sharing x 4 KiB\. /m);
    expect(lines.filter((line) => line.length > 80)).toEqual([]);
  });

  it("is help when asked for, or asked nothing", async () => {
    const [none, help, flag, run] = await Promise.all([
      pagefold([]),
      pagefold(["help"]),
      pagefold(["--help"]),
      pagefold(["help", "run"]),
    ]);
    expect(none).toMatchObject({ status: 0, stderr: "", stdout: help.stdout });
    expect(flag).toEqual(help);
    expect(help.stdout).toMatch(/^Usage: pagefold /);
    expect(run.stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
    expect(run.stdout).toMatch(/--installation[\s\S]*Exit status:\n {2}0 {14}done\n {2}1 {2}/);
  });
});

const LOAD = new URL("../../dist/cli/programs/load.js", import.meta.url);
const VERIFY = new URL("../../dist/cli/programs/verify.js", import.meta.url);

/** Loads a file into a guest, lets `change` happen, and verifies. */
async function verified(
  path: string,
  change: (guest: EngineGuest) => void,
  workers: boolean,
): Promise<Verified> {
  const bytes = fs.statSync(path).size;
  const data: FilesData = { kind: "files", files: [{ path, bytes }] };
  await using engine = await createEngine({ memoryPerNode: 8 * 2 ** 20, workers });
  const guest = engine.createGuest({ bytes });
  await guest.run(LOAD, data);
  await engine.ksm.set({ run: 1 });
  await engine.ksm.scan(3);
  change(guest);
  return (await guest.run(VERIFY, data)) as Verified;
}

describe.each([true, false])("verifying with workers: %s", (workers) => {
  const bytes = pagesOf(...Array.from({ length: 300 }, (_, page) => page % 7));
  const content = Buffer.concat([bytes, Buffer.from("tail")]);
  const image = (): string => fileOf("image", content);

  it("finds nothing when nothing changed", async () => {
    const none = { pages: 301, mismatches: 0, first: [], unreadable: null };
    expect(await verified(image(), () => {}, workers)).toEqual(none);
  });

  it("finds each byte of the guest that is not the source's", async () => {
    const offsets = [0, PAGE - 1, 256 * PAGE, 300 * PAGE + 4, 301 * PAGE - 1];
    const change = (guest: EngineGuest): void => {
      for (const at of offsets) guest.write(at, Uint8Array.of(0x55));
    };
    expect(await verified(image(), change, workers)).toEqual({
      ...{ pages: 301, mismatches: 3, first: [0, 256, 300], unreadable: null },
    });
  });

  it("finds a source that changed", async () => {
    const path = image();
    const change = (): void => {
      const fd = fs.openSync(path, "r+");
      fs.writeSync(fd, Buffer.of(0x55), 0, 1, 299 * PAGE + 17);
      fs.closeSync(fd);
    };
    const found = { pages: 301, mismatches: 1, first: [299], unreadable: null };
    expect(await verified(path, change, workers)).toEqual(found);
  });

  it("counts what cannot be read again", async () => {
    const cut = image();
    expect(await verified(cut, () => fs.truncateSync(cut, 290 * PAGE + 5), workers)).toEqual({
      ...{ pages: 301, mismatches: 11, first: [290, 291, 292] },
      unreadable:
        `${cut}: ends at byte ${290 * PAGE + 5}, no longer at ${content.length}; ` +
        "leave it alone while it is folded",
    });
    const gone = image();
    expect(await verified(gone, () => fs.rmSync(gone), workers)).toEqual({
      ...{ pages: 301, mismatches: 301, first: [0, 1, 2] },
      unreadable: `${gone}: cannot be opened (ENOENT); check the file`,
    });
  });
});

/** Bytes that a process has read so far, of files and pipes. */
function bytesRead(pid: number | undefined): number {
  const text = fs.readFileSync(`/proc/${pid}/io`, "utf8");
  return Number(/^rchar: (\d+)$/m.exec(text)?.[1]);
}

const linux = process.platform === "linux";
/** So large that nothing else a process reads comes near; its guest is loaded once so much was read. */
const LARGE = 48 * 2 ** 20;

/** Starts a run over a large file that scans slowly; resolves when it has read the file's beginning. */
async function startSlow(args: readonly string[]): Promise<Started & { image: string }> {
  const image = fileOf("image", Buffer.alloc(LARGE, 1));
  // ksmd may wake early once, for a message; not twice.
  const pace = ["--pages-to-scan", "1000000", "--sleep-millisecs", "1000", "--passes", "3"];
  const started = start(["run", image, "--nodes", "1", ...pace, ...args]);
  while (bytesRead(started.child.pid) < LARGE) await sleep(10);
  return { ...started, image };
}

describe.skipIf(!linux)("a run", () => {
  it("with mismatches exits with 1 and names them", async () => {
    const { ended, image } = await startSlow(["--json"]);
    const fd = fs.openSync(image, "r+");
    fs.writeSync(fd, Buffer.of(2), 0, 1, 5000);
    fs.closeSync(fd);
    const { status, stdout, stderr } = await ended;
    expect(stderr).toBe(`pagefold: image: page 1 differs from ${image}\n`);
    expect(status).toBe(1);
    const document = JSON.parse(stdout);
    expect(document.verify).toEqual({ pages: LARGE / PAGE, mismatches: 1 });
    expect(document.check).toBe("clean");
  });

  it.each([
    ["SIGHUP", 129],
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("ended by %s tells what is known and exits with %i", async (signal, status) => {
    const { child, ended } = await startSlow(["--json"]);
    child.kill(signal);
    const result = await ended;
    const stderr = "pagefold: interrupted; the result is what was known by then\n";
    expect(result).toMatchObject({ status, signal: null, stderr });
    const document = JSON.parse(result.stdout);
    expect(document).toMatchObject({ interrupted: true, settled: false, verify: null });
    expect(document).toMatchObject({ check: "skipped", timing: { settle_seconds: null } });
    expect(document.pages).toBeGreaterThan(0);
    expectSums(document);
  });

  it("ended by INT says so to people", async () => {
    const { child, ended } = await startSlow([]);
    child.kill("SIGINT");
    const { status, stdout } = await ended;
    expect(status).toBe(130);
    expect(stdout).toMatch(/^ended +INTERRUPTED: this is what was known by then$/m);
  });

  it("ends at once at the second signal", async () => {
    const { child, ended } = await startSlow(["--json"]);
    child.kill("SIGSTOP");
    // Both are waiting when it goes on: no time to print between them.
    child.kill("SIGINT");
    child.kill("SIGTERM");
    child.kill("SIGCONT");
    const { status, stdout } = await ended;
    expect([130, 143]).toContain(status);
    expect(stdout).toBe("");
  });

  it.skipIf(!fs.existsSync("/dev/full"))("keeps its status where nobody hears it", async () => {
    const full = fs.openSync("/dev/full", "w");
    const stdio = ["ignore", "ignore", full] as const;
    const child = spawn(process.execPath, [MAIN, "run", "no-such-file"], { stdio: [...stdio] });
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(2);
    fs.closeSync(full);
  });

  it.skipIf(!fs.existsSync("/dev/full"))("prints what a full disk does not take", async () => {
    const args = ["run", "synth:pages=300", "--json", "--output", "/dev/full"];
    const { status, stdout, stderr } = await pagefold(args);
    expect(stderr).toBe(
      "pagefold: --output /dev/full: cannot be written; the result is on standard output\n",
    );
    expect(status).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({ pages: 600, settled: true });
  });

  it("is silent when nobody reads on", async () => {
    const child = spawn(process.execPath, [MAIN, "run", "synth:pages=2000"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    child.stdout.destroy();
    let stderr = "";
    child.stderr.setEncoding("utf8").on("data", (text) => {
      stderr += text;
    });
    const status = await new Promise((resolve) => child.on("close", resolve));
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });
});
