/**
 * What sources may be called, and what is said of files that are filled up.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { dirname } from "node:path";
import { describe, expect, it } from "vitest";
import { documentOf, fileOf, fresh, MAIN, PAGE, pagefold, pagesOf } from "./command.js";

async function refused(args: readonly string[], line: string, options = {}): Promise<void> {
  const { status, stdout, stderr } = await pagefold(["run", ...args], options);
  expect(stderr).toBe(`pagefold: ${line}\n`);
  expect([status, stdout]).toEqual([2, ""]);
}

describe("a source", () => {
  it("is called something", () => refused([""], '"": is not the name of a file; name a file'));

  it.each([
    ["pid:x", "is not the number of a process; write pid:1234"],
    ["synth:x", "there is no key x; the keys are pages, dup, alike, zero, seed, guests"],
  ])("may be a file called %s", async (name, wrong) => {
    const path = fileOf(name, pagesOf(1));
    const inside = { cwd: dirname(path) };
    await refused([name], `${name}: ${wrong}`);
    await refused([name], `${name}: ${wrong}, or ./${name} for the file of that name`, inside);
    expect(await pagefold(["run", `./${name}`], inside)).toMatchObject({ status: 0, stderr: "" });
  });

  it.skipIf(process.platform !== "linux")("is called by text", () => {
    const directory = dirname(fresh("x"));
    execFileSync("sh", ["-c", 'printf 1 > "$(printf "a\\377")"'], { cwd: directory });
    const script = `"$0" "$1" run "$(printf 'a\\377')"`;
    const { status, stdout, stderr } = spawnSync("sh", ["-c", script, process.execPath, MAIN], {
      cwd: directory,
      encoding: "utf8",
    });
    expect(stderr).toBe(
      "pagefold: a\ufffd: there is no such file, or its name is not valid UTF-8 text; " +
        "check the path, or rename the file\n",
    );
    expect([status, stdout]).toEqual([2, ""]);
  });
});

describe("files that are filled up", () => {
  it("are told of each, up to three", async () => {
    const [one, most, whole] = [
      fileOf("one", Buffer.alloc(PAGE - 1, 1)),
      fileOf("most", Buffer.alloc(1, 1)),
      fileOf("whole", pagesOf(1)),
    ];
    const { notes } = await documentOf([one, whole, most, one]);
    expect(notes).toEqual([
      `${one}: 1 zero byte fills up its last page`,
      `${most}: 4,095 zero bytes fill up its last page`,
      `${one}: 1 zero byte fills up its last page`,
    ]);
  });

  it("are told of together when they are more", async () => {
    const path = fileOf("part", Buffer.alloc(PAGE + 1, 1));
    const { notes } = await documentOf([path, path, path, path]);
    expect(notes).toEqual(["4 sources: 16,380 zero bytes fill up their last pages"]);
  });
});
