/**
 * terminal - runs a command on a pseudo-terminal, and interprets what that gets as a terminal does that
 * folds its lines anew when it is resized. Characters are one column wide.
 */
import { spawn, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("terminal.py", import.meta.url));

export const hasTerminal = spawnSync("python3", ["-c", "import pty"]).status === 0;

/** Done once `after` has been printed since the action before. */
export type Action =
  | { readonly after: string; readonly columns: number }
  | { readonly after: string; readonly type: string };

export interface Seen {
  /** Exit status; -n when signal n ended the command. */
  readonly status: number;
  /** Everything that was written. */
  readonly output: string;
  /** What is to be read at the end, from the first line that was written, up to the last with text. */
  readonly screen: readonly string[];
  /** The line of the cursor, whenever the cursor went back to its beginning. */
  readonly frames: readonly string[];
  /** Characters that did not fit into their line. */
  readonly folded: number;
  readonly cursor: { readonly column: number; readonly line: number; readonly isVisible: boolean };
}

export interface Setting {
  readonly columns: number;
  readonly env?: NodeJS.ProcessEnv;
  readonly actions?: readonly Action[];
}

export async function onTerminal(command: readonly string[], setting: Setting): Promise<Seen> {
  const { columns, actions = [], env = {} } = setting;
  const { CI: _, ...inherited } = process.env;
  const child = spawn("python3", [PROGRAM, `${columns}`, JSON.stringify(actions), ...command], {
    env: { ...inherited, TERM: "xterm", ...env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let told = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    told += text;
  });
  await new Promise((resolve) => child.on("close", resolve));
  const screen = new Screen(columns);
  let output = "";
  let status = Number.NaN;
  for (const line of told.trimEnd().split("\n")) {
    const event = JSON.parse(line);
    if ("text" in event) output += event.text;
    if ("text" in event) screen.print(event.text);
    if ("columns" in event) screen.columns = event.columns;
    if ("status" in event) status = event.status;
  }
  return { status, output, ...screen.seen() };
}

const ESC = "\x1b";
/** One of: a sequence that begins with CSI, another escape sequence, a character. */
const TOKENS = new RegExp(`${ESC}\\[([?\\d;]*)([@-~])|${ESC}.|.`, "gsu");
const UNFINISHED = new RegExp(`${ESC}(\\[[?\\d;]*)?$`);

class Screen {
  /** Lines as they were written; one that is wider than the terminal takes several rows. */
  readonly #lines: string[][] = [[]];
  readonly #frames: string[] = [];
  #line = 0;
  /** In its line, from 0; behind the last column until the next character is printed. */
  #at = 0;
  #folded = 0;
  #isVisible = true;
  /** What was written ended within a sequence. */
  #rest = "";

  constructor(public columns: number) {}

  print(text: string): void {
    const all = this.#rest + text;
    const end = UNFINISHED.exec(all)?.index ?? all.length;
    this.#rest = all.slice(end);
    for (const [token, parameters = "", final] of all.slice(0, end).matchAll(TOKENS)) {
      if (final !== undefined) this.#control(final, parameters);
      else if (token === "\r") this.#return();
      else if (token === "\n") this.#down();
      else if (token.startsWith(ESC) || token < " ") throw unknown(token);
      else this.#put(token);
    }
  }

  seen(): Omit<Seen, "status" | "output"> {
    const screen = this.#lines.map((line) => line.join("").trimEnd());
    while (screen.at(-1) === "") screen.pop();
    const cursor = { column: this.#at, line: this.#line, isVisible: this.#isVisible };
    return { screen, frames: this.#frames, folded: this.#folded, cursor };
  }

  #text(): string[] {
    return this.#lines[this.#line] as string[];
  }

  #put(character: string): void {
    if (this.#at >= this.columns) this.#folded++;
    const line = this.#text();
    while (line.length < this.#at) line.push(" ");
    line[this.#at++] = character;
  }

  /** To the beginning of the row. */
  #return(): void {
    const frame = this.#text().join("").trimEnd();
    if (frame !== "" && frame !== this.#frames.at(-1)) this.#frames.push(frame);
    const row = Math.floor(Math.max(this.#at - 1, 0) / this.columns);
    this.#at = row * this.columns;
  }

  #down(): void {
    this.#line++;
    this.#at %= this.columns;
    if (this.#line === this.#lines.length) this.#lines.push([]);
  }

  #control(final: string, parameters: string): void {
    if (final === "J" && (parameters === "" || parameters === "0")) {
      this.#text().splice(this.#at);
      this.#lines.splice(this.#line + 1);
    } else if (parameters === "?25" && (final === "h" || final === "l")) {
      this.#isVisible = final === "h";
    } else {
      throw unknown(`CSI ${parameters}${final}`);
    }
  }
}

function unknown(sequence: string): Error {
  return new Error(`the screen does not know ${JSON.stringify(sequence)}`);
}
