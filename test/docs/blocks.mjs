/**
 * blocks - the JavaScript in a page of documentation, run as a reader would who pastes it.
 *
 * A block that begins with `// NAME.mjs` is a file of that name beside the others. Any other is a program: what
 * it prints is what the comments behind its calls of `console.log` say. A comment may go on after what is
 * printed, behind a space or a comma.
 */
import { execFile } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export function readPage(path) {
  return fs.readFileSync(join(ROOT, path), "utf8");
}

/** The blocks marked `js`, in order. */
export function blocksOf(page) {
  return [...page.matchAll(/^```js\n([\s\S]*?)^```$/gm)].map(({ 1: code, index }) => {
    const line = page.slice(0, index).split("\n").length + 1;
    return { line, code, name: /^\/\/ ([\w-]+\.mjs)\n/.exec(code)?.[1] ?? null };
  });
}

/** What the block says that it prints, a line each. */
export function promisesOf({ code }) {
  return [...code.matchAll(/console\.log\(.*\/\/ (.+)$/gm)].map((match) => match[1]);
}

/** Whether the comment says that this is printed. */
export function saysSo(comment, printed) {
  const rest = comment.slice(printed.length);
  return comment.startsWith(printed) && /^([ ,]|$)/.test(rest);
}

/** Runs a program of the page beside the page's files, where `pagefold` is the package in that folder. */
export async function runBlock(blocks, program, pagefold = ROOT, node = process.execPath) {
  const folder = fs.mkdtempSync(join(os.tmpdir(), "pagefold-docs-"));
  try {
    fs.mkdirSync(join(folder, "node_modules"));
    fs.symlinkSync(pagefold, join(folder, "node_modules/pagefold"));
    for (const { name, code } of blocks) {
      if (name !== null) fs.writeFileSync(join(folder, name), code);
    }
    fs.writeFileSync(join(folder, "pasted.mjs"), program.code);
    const { stdout, stderr } = await promisify(execFile)(node, ["pasted.mjs"], { cwd: folder });
    return { printed: stdout.split("\n").slice(0, -1), stderr };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}
