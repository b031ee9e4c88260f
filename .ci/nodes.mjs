/**
 * nodes - packs and installs the package once, then uses it under several versions of Node:
 * `npm run test:nodes [-- VERSION...] [--offline-ok]`. Runtimes are fetched by npx, and are no dependency.
 */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { blocksOf, promisesOf, ROOT, readPage, runBlock, saysSo } from "../test/docs/blocks.mjs";

const VERSIONS = ["20", "22", "24", "26"];
const FETCHED_NOT = "not fetched";

const execute = promisify(execFile);

/** Installs the packed package as anybody does; returns the folder. */
async function install(folder) {
  const pack = ["pack", "--json", "--ignore-scripts", "--pack-destination", folder];
  const { stdout } = await execute("npm", pack, { cwd: ROOT });
  const tarball = join(folder, JSON.parse(stdout)[0].filename);
  const app = join(folder, "app");
  fs.mkdirSync(app);
  fs.writeFileSync(join(app, "package.json"), '{ "private": true }\n');
  const quiet = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"];
  await execute("npm", ["install", tarball, ...quiet], { cwd: app });
  fs.cpSync(join(ROOT, "examples"), join(app, "examples"), { recursive: true });
  return app;
}

/** The path of that version's node; null if it cannot be had. */
async function fetchNode(version, folder) {
  const args = ["--yes", "--package", `node@${version}`, "node", "-p", "process.execPath"];
  try {
    const { stdout } = await execute("npx", args, { cwd: folder });
    return stdout.trim();
  } catch (error) {
    console.error(`node ${version}: ${FETCHED_NOT}: ${error.stderr || error.message}`);
    return null;
  }
}

function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/** Environment in which `node` is the given one. */
function environmentOf(node) {
  return { ...process.env, PATH: `${dirname(node)}${delimiter}${process.env.PATH}` };
}

/** `pagefold run`, on what it finds for itself if no source is given. */
async function command({ app, node }, ...sources) {
  const options = { cwd: app, env: environmentOf(node) };
  const pagefold = join(app, "node_modules/.bin/pagefold");
  const { stdout } = await execute(pagefold, ["run", ...sources, "--json", "--quiet"], options);
  const { verify, check, saved_bytes } = JSON.parse(stdout);
  assert(verify.mismatches === 0, `verify: ${JSON.stringify(verify)}`);
  assert(check === "clean", `check: ${check}`);
  assert(saved_bytes > 0, "nothing was saved");
}

/** Runs the programs of a page that `wanted` accepts; there must be one. */
async function programs({ app, node }, page, wanted) {
  const blocks = blocksOf(readPage(page));
  const chosen = blocks.filter((block) => block.name === null && wanted(block));
  assert(chosen.length > 0, `${page} shows no such program`);
  for (const program of chosen) {
    const pagefold = join(app, "node_modules/pagefold");
    const { printed, stderr } = await runBlock(blocks, program, pagefold, node);
    const promises = promisesOf(program);
    const where = `${page}:${program.line}`;
    assert(stderr === "", `${where}: ${stderr}`);
    const same = printed.length === promises.length;
    assert(same && printed.every((line, i) => saysSo(promises[i], line)), `${where}: ${printed}`);
  }
}

const joins = ({ code }) => code.includes("new Worker(");

/** Node requires ESM from 20.19 on, and from 22.12 on. */
async function required({ app, node }) {
  const asked = await execute(node, ["-p", "process.features.require_module === true"]);
  if (asked.stdout !== "true\n") return "not allowed";
  const code =
    'require("pagefold").createEngine({ ksm: { run: 1 } }).then(async (engine) => {' +
    "engine.createGuest({ bytes: 8192 }).fill(0, 8192, 1);" +
    "console.log((await engine.ksm.scan(2)).pages_sharing); await engine.close(); });";
  const { stdout, stderr } = await execute(node, ["-e", code], { cwd: app });
  assert(stdout === "1\n" && stderr === "", stdout + stderr);
  return undefined;
}

/** Examples are scripts, or folders with a main.mjs. */
async function examples({ app, node }) {
  const scripts = fs
    .readdirSync(join(app, "examples"))
    .map((name) => join("examples", name, name.endsWith(".mjs") ? "" : "main.mjs"))
    .map((path) => path.replace(/\/$/, ""))
    .filter((path) => fs.existsSync(join(app, path)));
  assert(scripts.length > 0, "there is no example");
  for (const script of scripts) await execute(node, [script], { cwd: app });
}

const CHECKS = {
  command,
  synth: (place) => command(place, "synth:pages=20000,guests=2"),
  README: (place) => programs(place, "README.md", () => true),
  guide: (place) => programs(place, "docs/embedding.md", (block) => !joins(block)),
  worker: (place) => programs(place, "docs/embedding.md", joins),
  require: required,
  examples,
};

/** Does every check under one runtime; a column each. */
async function tryOut(version, node, app) {
  if (node === null) return { node: version, version: FETCHED_NOT };
  const { stdout } = await execute(node, ["--version"]);
  const row = { node: version, version: stdout.trim() };
  for (const [name, check] of Object.entries(CHECKS)) {
    try {
      row[name] = (await check({ app, node })) ?? "ok";
    } catch (error) {
      console.error(`node ${version}: ${name}: ${error.stack}\n${error.stderr ?? ""}`);
      row[name] = "FAILED";
    }
  }
  return row;
}

function printTable(rows) {
  const columns = ["node", "version", ...Object.keys(CHECKS)];
  const table = [columns, ...rows.map((row) => columns.map((column) => row[column] ?? "-"))];
  const widths = columns.map((_, i) => Math.max(...table.map((cells) => cells[i].length)));
  for (const cells of table) {
    const line = cells.map((cell, i) => cell.padEnd(widths[i])).join("  ");
    console.log(line.trimEnd());
  }
}

const given = process.argv.slice(2);
const offlineOk = given.includes("--offline-ok");
const versions = given.filter((each) => each !== "--offline-ok");
const folder = fs.mkdtempSync(join(os.tmpdir(), "pagefold-nodes-"));
try {
  const app = await install(folder);
  const rows = [];
  for (const version of versions.length > 0 ? versions : VERSIONS) {
    rows.push(await tryOut(version, await fetchNode(version, folder), app));
  }
  printTable(rows);
  const failed = rows.some((row) =>
    row.version === FETCHED_NOT ? !offlineOk : Object.values(row).includes("FAILED"),
  );
  process.exitCode = failed ? 1 : 0;
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
