/**
 * progress - one line on a terminal that says how far a run has come.
 *
 * The cursor waits where the line begins. So a terminal that becomes narrower, and folds the line, has
 * nothing of it above the cursor: erasing from there on leaves none of it. Text that somebody else prints
 * meanwhile begins there too.
 */
import cliProgress from "cli-progress";
import { printable } from "../printable.js";
import { shortened, width } from "./columns.js";
import { count, sizeOfPages } from "./figures.js";

export interface ProgressView {
  /** A stage begins; `total` in pages, 0: not known. */
  begin(stage: string, total: number): void;
  /** `done` pages of the stage's total, and what merging has come to; `rates` are shown in place of the pages. */
  update(done: number, found: Found, rates?: readonly string[]): void;
  /** Takes it off the screen: nothing of it stays. Idempotent. */
  end(): void;
}

/** Frames that are shared, and pages that are saved because they share them. */
interface Found {
  readonly shared: number;
  readonly sharing: number;
}

interface Rates {
  readonly rates: readonly string[] | null;
}

interface Options {
  readonly quiet: boolean;
  readonly env: NodeJS.ProcessEnv;
}

/** Redraws a second, at most. */
const FPS = 10;
/** Width of a terminal that does not tell. */
const COLUMNS = 80;
/** Narrower terminals have no room for a bar beside the figures. */
const BAR_COLUMNS = 100;
const BAR_MIN = 12;
const BAR_MAX = 30;
/** An estimate needs something to go by. */
const TIME_AFTER_SECONDS = 1;

/** Shows nothing with `quiet`, in CI, on a dumb terminal, and where the stream is no terminal. */
export function createProgress(stream: NodeJS.WriteStream, options: Options): ProgressView {
  if (isWanted(stream, options)) return new ProgressLine(stream);
  return { begin: () => {}, update: () => {}, end: () => {} };
}

function isWanted(stream: NodeJS.WriteStream, { quiet, env }: Options): boolean {
  const { CI = "", TERM = "" } = env;
  const isCi = !["", "0", "false"].includes(CI.toLowerCase());
  return stream.isTTY === true && !quiet && !isCi && TERM !== "dumb";
}

class ProgressLine implements ProgressView {
  readonly #bar: cliProgress.SingleBar;
  /** The process may be made to exit while the line is there. */
  readonly #onExit = (): void => this.end();
  #found: Found & Rates = { shared: 0, sharing: 0, rates: null };

  constructor(stream: NodeJS.WriteStream) {
    const options = {
      fps: FPS,
      clearOnComplete: true,
      // Signals are the command's business.
      gracefulExit: false,
      terminal: new Line(stream),
      format: (_: unknown, params: cliProgress.Params, payload: Payload) => render(params, payload),
    };
    this.#bar = new cliProgress.SingleBar(options);
  }

  begin(stage: string, total: number): void {
    process.off("exit", this.#onExit).once("exit", this.#onExit);
    this.#bar.start(total, 0, { stage: printable(stage), ...this.#found } satisfies Payload);
  }

  update(done: number, { shared, sharing }: Found, rates: Rates["rates"] = null): void {
    this.#found = { shared, sharing, rates };
    this.#bar.update(done, this.#found);
  }

  end(): void {
    process.off("exit", this.#onExit);
    this.#bar.stop();
  }
}

/** What cli-progress draws on: each redraw is one write, and no mode of the terminal is changed. */
class Line {
  readonly #stream: NodeJS.WriteStream;

  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream;
  }

  isTTY(): boolean {
    return true;
  }

  getWidth(): number {
    return this.#stream.columns || COLUMNS;
  }

  /** The line, nothing after it, and back to its beginning. */
  write(text: string): void {
    this.#stream.write(`\r${text}\x1b[J\r`);
  }

  clearLine(): void {
    this.#stream.write("\r\x1b[J");
  }

  cursorTo(): void {}
  clearRight(): void {}
  cursorSave(): void {}
  cursorRestore(): void {}
  lineWrapping(): void {}
}

interface Payload extends Found, Rates {
  readonly stage: string;
}

/** A part of the line; of those that do not fit, the one with the highest rank goes first. */
interface Field {
  readonly rank: number;
  readonly text: string;
}

/** The line; the last column stays free, where some terminals wrap. */
function render(params: cliProgress.Params, payload: Payload): string {
  const { stage, shared, sharing, rates } = payload;
  const { value: done, total, startTime, maxWidth } = params;
  const part = total > 0 ? Math.min(done / total, 1) : 0;
  const columns = maxWidth - 1;
  const fields: Field[] = [
    // The cursor stands on the space.
    { rank: 0, text: ` ${shortened(stage, columns - 1)}` },
    { rank: 6, text: total > 0 && maxWidth >= BAR_COLUMNS ? bar(part, maxWidth) : "" },
    { rank: 1, text: total > 0 ? `${Math.floor(100 * part)}%`.padStart(4) : "" },
    // Rates are what such a stage is about, the first above all.
    ...(rates ?? []).map((text, i) => ({ rank: 1.1 + i / 10, text })),
    { rank: 4, text: rates === null ? pagesDone(done, total) : "" },
    { rank: 5, text: shared > 0 ? `${count(shared)} shared` : "" },
    { rank: 2, text: sharing > 0 ? `${sizeOfPages(sharing)} saved` : "" },
    { rank: 3, text: time(part, total > 0, (Date.now() - startTime) / 1000) },
  ];
  return fitted(fields, columns);
}

function pagesDone(done: number, total: number): string {
  return done > 0 ? `${count(done).padStart(count(total).length)} pages` : "";
}

function fitted(fields: readonly Field[], columns: number): string {
  const shown = fields.filter(({ text }) => text !== "");
  const line = (): string => shown.map(({ text }) => text).join("  ");
  while (shown.length > 1 && width(line()) > columns) {
    const last = Math.max(...shown.map(({ rank }) => rank));
    shown.splice(
      shown.findIndex(({ rank }) => rank === last),
      1,
    );
  }
  return line();
}

function bar(part: number, columns: number): string {
  const length = Math.min(columns - BAR_COLUMNS + BAR_MIN, BAR_MAX);
  const filled = Math.floor(part * length);
  return `[${"#".repeat(filled)}${".".repeat(length - filled)}]`;
}

/**
 * What is left of a stage whose end is known, else what it has taken. The estimate is the stage's average:
 * that of cli-progress follows the last few updates.
 */
function time(part: number, isKnown: boolean, elapsed: number): string {
  if (elapsed < TIME_AFTER_SECONDS) return "";
  if (!isKnown) return clock(Math.floor(elapsed));
  return part > 0 ? `ETA ${clock(Math.ceil((elapsed * (1 - part)) / part))}` : "";
}

function clock(seconds: number): string {
  if (seconds < 60) return `${seconds} s`;
  const two = (value: number): string => String(value).padStart(2, "0");
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  const rest = two(seconds % 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}
