/**
 * What is wrong with the input: one line on stderr, exit 2, nothing on stdout.
 */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import net from "node:net";
import os from "node:os";
import { dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { fileOf, fresh, MAIN, pagefold, pagesOf } from "./command.js";

const image = fileOf("image", pagesOf(1, 2));
const keys = "the keys are pages, dup, alike, zero, seed, guests";
const see = "see pagefold run --help";
const range = (min: number, max: number) =>
  `is out of range or no number; it takes an integer from ${min} to ${max}`;
const MAX = 2 ** 31 - 1;
const aboveZero = "is out of range or no number; it takes a number above 0, up to 2000000";
const size = "is no size; write bytes, or a number with K, M, G, KiB, MiB or GiB, such as 512M";
const available = "is not available; choose one of";

async function refused(args: readonly string[], line: string, options = {}): Promise<void> {
  const { status, stdout, stderr } = await pagefold(args, options);
  expect(stderr).toBe(`pagefold: ${line}\n`);
  expect(stdout).toBe("");
  expect(status).toBe(2);
}

describe.concurrent("the command line", () => {
  it.each([
    ["fold", "fold: there is no such command; see pagefold --help"],
    ["rn x", "rn: there is no such command; did you mean run?"],
    ["--jsn", `--jsn: there is no such option; ${see}`],
    ["run --jsn x", "--jsn: there is no such option; did you mean --json?"],
    ["run -x y", `-x: there is no such option; ${see}`],
    ["run x --nodes", `--nodes: its value is missing; ${see}`],
    ["help fold", "help fold: there is no such command; see pagefold --help"],
    [
      "run --kernels mmx",
      `--kernels mmx: ${available} auto, simd, scalar, typescript, xxhash-wasm`,
    ],
    ["run --hash md5", `--hash md5: ${available} auto, xxh3-64, xxh64`],
    ["run x --nodes 0", `--nodes 0: ${range(1, 64)}`],
    ["run x --nodes 65", `--nodes 65: ${range(1, 64)}`],
    ["run x --nodes -1", `--nodes -1: ${range(1, 64)}`],
    ["run x --nodes=", `--nodes: ${range(1, 64)}`],
    ["run x --nodes two", `--nodes two: ${range(1, 64)}`],
    ["run x --max-page-sharing 1", `--max-page-sharing 1: ${range(2, MAX)}`],
    ["run x --max-page-sharing 1e3", `--max-page-sharing 1e3: ${range(2, MAX)}`],
    ["run x --passes 0", `--passes 0: ${range(1, MAX)}`],
    ["run x --passes 1.5", `--passes 1.5: ${range(1, MAX)}`],
    ["run x --pages-to-scan 0", `--pages-to-scan 0: ${range(1, MAX)}`],
    [
      "run x --sleep-millisecs 0 --pages-to-scan 9",
      "--pages-to-scan: has no effect without pauses; " +
        "leave it out, or let --sleep-millisecs be at least 1",
    ],
    ["run x --sleep-millisecs 0x10", `--sleep-millisecs 0x10: ${range(0, MAX)}`],
    ["run x --seconds 0", `--seconds 0: ${aboveZero}`],
    ["run x --seconds soon", `--seconds soon: ${aboveZero}`],
    ["run x --memory-per-node 0", `--memory-per-node 0: ${size}`],
    ["run x --memory-per-node 64m", `--memory-per-node 64m: ${size}`],
    ["run x --memory-per-node 1.5G", `--memory-per-node 1.5G: ${size}`],
    ["run x --memory-per-node 1GB", `--memory-per-node 1GB: ${size}`],
    ["run x --output", `--output: its value is missing; ${see}`],
    ["run x --migrators 65", `--migrators 65: ${range(0, 64)}`],
    ["run x --merge-across-nodes 2", `--merge-across-nodes 2: ${range(0, 1)}`],
    [
      "run x --policy follow,chaoz",
      `--policy chaoz: ${available} follow, balance, compact, chaos, off`,
    ],
    ["run x --policy=", `--policy: ${available} follow, balance, compact, chaos, off`],
    [
      "run x --policy off,follow",
      "--policy off,follow: off is no policy beside others; name each policy once, or off alone",
    ],
    [
      "run x --policy chaos,follow,chaos",
      "--policy chaos,follow,chaos: chaos is named twice; name each policy once, or off alone",
    ],
    [
      "run x --migrators 0 --policy chaos,follow",
      "--policy chaos,follow: has nobody to follow it; give --migrators 1 or more, or --policy off",
    ],
    ["stress x", "stress: takes options only; see pagefold stress --help"],
    ["stress --sed 1", "--sed: there is no such option; did you mean --seed?"],
    ["stress --seed", "--seed: its value is missing; see pagefold stress --help"],
    ["stress --seed 4294967296", `--seed 4294967296: ${range(0, 2 ** 32 - 1)}`],
    ["stress --seconds -1", `--seconds -1: ${aboveZero}, or 0 for no end`],
    ["stress --guests 0", `--guests 0: ${range(1, 4096)}`],
    ["stress --vcpus 65", `--vcpus 65: ${range(1, 64)}`],
    ["stress --ksmd 2", `--ksmd 2: ${range(1, 1)}`],
    ["stress --migrators 0", `--migrators 0: ${range(1, 64)}`],
    [
      "stress --memory-per-node 64K --guests 3",
      "--memory-per-node 65536: guests may fill half of it, and 3 with 2 vCPUs each need more; " +
        "give at least 196608 (192 KiB)",
    ],
    [
      "stress --nodes 3 --guests 1 --vcpus 1 --memory-per-node 64K",
      "--memory-per-node 65536: it comes and goes in blocks of 64 KiB, and 4 are needed in all; " +
        "give at least 131072 (128 KiB)",
    ],
    [
      "stress --nodes 64 --memory-per-node 1G",
      "--memory-per-node 1073741824: 64 nodes of it are more than 64.00 GiB; give less",
    ],
    ["stress --dump new/", "--dump new/: is not the name of a file; name a file"],
  ])("%s", (args, line) => refused(args.split(" "), line));

  it("a hash that these kernels do not have", async () => {
    // A tail to be filled up is not mentioned beside what is wrong.
    const tail = fileOf("tail", Buffer.from("x"));
    const both = ["--kernels", "xxhash-wasm", "--hash", "xxh3-64"];
    await refused(["run", tail, ...both], `--hash xxh3-64: ${available} auto, xxh64`);
  });
});

describe.concurrent("synth", () => {
  const integer = (max: number, min = 1) => `it takes an integer from ${min} to ${max}`;
  it.each([
    ["page=1", `there is no key page; ${keys}`],
    ["constructor=1", `there is no key constructor; ${keys}`],
    ["pages", `pages is ""; ${integer(2 ** 24 - 1)}`],
    ["pages=0", `pages is "0"; ${integer(2 ** 24 - 1)}`],
    ["pages=16777216", `pages is "16777216"; ${integer(2 ** 24 - 1)}`],
    ["pages=1=1", `pages is "1=1"; ${integer(2 ** 24 - 1)}`],
    ["pages=9,pages=9", "pages is given twice; give it once"],
    ["alike=-2", `alike is "-2"; ${integer(2 ** 24 - 1)}`],
    ["dup=1.1", 'dup is "1.1"; it takes a number from 0 to 1'],
    ["zero=1e-1", 'zero is "1e-1"; it takes a number from 0 to 1'],
    ["seed=4294967296", `seed is "4294967296"; ${integer(2 ** 32 - 1, 0)}`],
    ["guests=0", `guests is "0"; ${integer(1024)}`],
    ["dup=0.95", "zero and dup are 0.1 and 0.95, more than 1 together; make one of them smaller"],
  ])("%s", (spec, wrong) => refused(["run", `synth:${spec}`], `synth:${spec}: ${wrong}`));

  it("with more than an engine holds", async () => {
    const fewer = "name fewer at once";
    const most = "synth:pages=16777215,guests=1";
    await refused(
      ["run", most, "synth:pages=1"],
      `sources: they have 64.00 GiB in all, and an engine holds 64.00 GiB; ${fewer}`,
    );
    await refused(
      ["run", "synth:pages=262144,guests=1", "--nodes", "64"],
      "sources: they need 1.00 GiB on one node, and it can have 1.00 GiB; use fewer --nodes",
    );
    const many = Array.from({ length: 17 }, () => "synth:pages=1,guests=1024");
    const limit = "they are 17408 guests, and an engine has 16384 at most";
    await refused(["run", ...many], `sources: ${limit}; ${fewer}`);
  });
});

describe("files", () => {
  it("missing, a good one before it", async () => {
    const missing = fresh("missing");
    await refused(["run", image, missing], `${missing}: there is no such file; check the path`);
    const below = `${image}/below`;
    await refused(["run", below], `${below}: there is no such file; check the path`);
  });

  it("with a line break in the name", async () => {
    const missing = fresh("a\nb");
    const shown = missing.replace("\n", "?");
    await refused(["run", missing], `${shown}: there is no such file; check the path`);
  });

  it("empty", async () => {
    const empty = fileOf("empty", Buffer.alloc(0));
    await refused(["run", empty], `${empty}: is empty; name a file with at least one byte`);
  });

  it("that are directories, devices, pipes, sockets", async () => {
    const directory = dirname(image);
    await refused(["run", directory], `${directory}: is a directory; name the files in it`);
    const mend = "not a regular file; copy what it gives into a file, and name that";
    await refused(["run", "/dev/null"], `/dev/null: is a device, ${mend}`);
    const pipe = fresh("pipe");
    execFileSync("mkfifo", [pipe]);
    await refused(["run", pipe], `${pipe}: is a pipe, ${mend}`);
    const socket = fresh("socket");
    const server = net.createServer();
    await new Promise<void>((resolve) => {
      server.listen(socket, resolve);
    });
    await refused(["run", socket], `${socket}: is a socket, ${mend}`);
    server.close();
  });

  it("that may not be read", async ({ skip }) => {
    const secret = fileOf("secret", pagesOf(1));
    fs.chmodSync(secret, 0);
    const root = process.getuid?.() === 0;
    const ids = root ? { uid: 65534, gid: 65534 } : {};
    if (root) {
      // Another user must reach the file and the command.
      for (let at = dirname(secret); at.includes("pagefold-cli-"); at = dirname(at)) {
        fs.chmodSync(at, 0o755);
      }
      const reach = await pagefold(["--version"], ids).catch(() => null);
      if (reach?.status !== 0) skip(`another user cannot run ${MAIN}`);
    }
    const mend = "run as a user who may read it, or change its mode";
    await refused(["run", secret], `${secret}: cannot be opened (EACCES); ${mend}`, ids);
  });

  it("that end before what they say", async ({ skip }) => {
    // The kernel's files of settings say that they have a page, and give less.
    const path = "/sys/kernel/mm/transparent_hugepage/enabled";
    if (!fs.existsSync(path)) skip(`there is no ${path}`);
    const bytes = fs.readFileSync(path).length;
    const size = fs.statSync(path).size;
    const wrong = `ends at byte ${bytes}, no longer at ${size}`;
    await refused(["run", path], `${path}: ${wrong}; leave it alone while it is folded`);
  });
});

describe("--output", () => {
  const out = (path: string): string[] => ["run", image, "--output", path];

  it("that is a directory, or in none", async () => {
    const directory = dirname(image);
    await refused(out(directory), `--output ${directory}: is a directory; name a file`);
    const path = `${directory}/none/result`;
    const mend = "name a file in a folder that you may write to";
    await refused(out(path), `--output ${path}: cannot be written (ENOENT); ${mend}`);
  });

  it("that is no name of a file, or a pipe", async () => {
    for (const path of ["", "new/"]) {
      const thing = path === "" ? '""' : path;
      await refused(out(path), `--output ${thing}: is not the name of a file; name a file`);
    }
    const pipe = fresh("pipe");
    execFileSync("mkfifo", [pipe]);
    const mend = "leave --output out, and write > there";
    await refused(out(pipe), `--output ${pipe}: is a pipe or a socket; ${mend}`);
  });

  it("that is a link into no folder", async () => {
    const link = fresh("dangling");
    fs.symlinkSync("none/result", link);
    const mend = "name a file in a folder that you may write to";
    await refused(out(link), `--output ${link}: cannot be written (ENOENT); ${mend}`);
  });

  it("that is a source, by another name too", async () => {
    const [link, hard] = [fresh("link"), fresh("hard")];
    fs.symlinkSync(image, link);
    fs.linkSync(image, hard);
    for (const path of [image, link, hard]) {
      const wrong = "is a source too, and would be overwritten; name another file";
      await refused(out(path), `--output ${path}: ${wrong}`);
    }
    expect(fs.readFileSync(image)).toEqual(pagesOf(1, 2));
  });
});

describe("memory", () => {
  it("on the nodes that has no room for the sources", async () => {
    const wrong = "2 nodes of it cannot hold the 1.2 MiB of the sources";
    await refused(
      ["run", "synth:pages=300,guests=1", "--memory-per-node", "64K"],
      `--memory-per-node 65536: ${wrong}; give at least 614400, or leave it out`,
    );
    await refused(
      ["run", image, "--memory-per-node", "40G"],
      "--memory-per-node 42949672960: an engine of 2 nodes can have 32.00 GiB on each; " +
        "give less, or leave it out",
    );
  });

  it.skipIf(os.totalmem() > 60 * 2 ** 30)("that nobody has left is refused at once", async () => {
    const { status, stdout, stderr } = await pagefold(["run", "synth:pages=8000000,guests=2"]);
    const size = String.raw`\d+\.\d [KM]iB|\d+\.\d\d GiB`;
    const left = new RegExp(
      `^pagefold: sources: they need 62\\.47 GiB, and (?:the system|its cgroup) has (?:${size}) left; ` +
        "name fewer at once\n$",
    );
    expect(stderr).toMatch(left);
    expect([status, stdout]).toEqual([2, ""]);
  });
});
