/**
 * The line of progress: what it says at each width, and how it leaves a terminal.
 */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createProgress, type ProgressView } from "../../dist/cli/screen/progress.js";
import { hasTerminal, onTerminal, type Setting } from "./terminal.js";

const MODULE = new URL("../../dist/cli/screen/progress.js", import.meta.url);
const MIB_PAGES = 256;
/** Nothing stands behind what was written, and the cursor goes back. */
const END = "\x1b[J\r";

/** A terminal that keeps what it gets. */
class FakeTerminal {
  readonly isTTY: boolean = true;
  readonly written: string[] = [];
  constructor(public columns: number) {}

  write(text: string): boolean {
    this.written.push(text);
    return true;
  }

  get line(): string | undefined {
    const text = this.written.at(-1) ?? "";
    return text.startsWith("\r") && text.endsWith(END) ? text.slice(1, -END.length) : undefined;
  }
}

function viewOf(
  terminal: FakeTerminal,
  options: { quiet?: boolean; env?: NodeJS.ProcessEnv } = {},
): ProgressView {
  const stream = terminal as unknown as NodeJS.WriteStream;
  return createProgress(stream, { quiet: false, env: {}, ...options });
}

describe("the line", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** What is shown when a stage has taken so long. */
  function lineAt(
    columns: number,
    seconds: number,
    stage: string,
    { total = 262_144, done = 0, shared = 0, sharing = 0 },
  ): string | undefined {
    const terminal = new FakeTerminal(columns);
    const view = viewOf(terminal);
    view.begin(stage, total);
    view.update(done, { shared, sharing });
    vi.advanceTimersByTime(seconds * 1000);
    const { line } = terminal;
    view.end();
    return line;
  }

  it.each([
    [80, 0, {}, " loading    0%"],
    [80, 0.5, { done: 65_536 }, " loading   25%   65,536 pages"],
    [80, 3, { done: 65_536 }, " loading   25%   65,536 pages  ETA 9 s"],
    [40, 3, { done: 65_536 }, " loading   25%   65,536 pages  ETA 9 s"],
    [38, 3, { done: 65_536 }, " loading   25%  ETA 9 s"],
    [80, 100, { done: 65_536 }, " loading   25%   65,536 pages  ETA 5:00"],
    [80, 3600, { done: 1 }, " loading    0%        1 pages  ETA 262143:00:00"],
    [80, 3, { done: 300_000 }, " loading  100%  300,000 pages  ETA 0 s"],
    [100, 0.5, { done: 65_536 }, " loading  [###.........]   25%   65,536 pages"],
    [0, 0.5, { done: 1 }, " loading    0%        1 pages"],
  ])("of %i columns after %f s, of %j", (columns, seconds, at, line) => {
    expect(lineAt(columns, seconds, "loading", at)).toBe(line);
  });

  it.each([
    [
      120,
      " merging, pass 2  [#############.................]   46%  120,587 pages  1,234 shared  300.0 MiB saved  ETA 4 s",
    ],
    [90, " merging, pass 2   46%  120,587 pages  1,234 shared  300.0 MiB saved  ETA 4 s"],
    [80, " merging, pass 2   46%  120,587 pages  1,234 shared  300.0 MiB saved  ETA 4 s"],
    [77, " merging, pass 2   46%  120,587 pages  300.0 MiB saved  ETA 4 s"],
    [60, " merging, pass 2   46%  300.0 MiB saved  ETA 4 s"],
    [40, " merging, pass 2   46%  300.0 MiB saved"],
    [30, " merging, pass 2   46%"],
    [20, " merging, pass 2"],
    [12, " merg...s 2"],
  ])("of %i columns shows what matters most", (columns, line) => {
    const at = { done: 120_587, shared: 1234, sharing: 300 * MIB_PAGES };
    expect(lineAt(columns, 3, "merging, pass 2", at)).toBe(line);
  });

  it.each([
    [
      120,
      " stressing, round 4   10%  51,234 operations/s  9,876 copies/s  12 shared  48 KiB saved  ETA 27 s",
    ],
    [80, " stressing, round 4   10%  51,234 operations/s  9,876 copies/s  48 KiB saved"],
    [60, " stressing, round 4   10%  51,234 operations/s"],
    [40, " stressing, round 4   10%"],
  ])("of %i columns tells rates in place of pages", (columns, line) => {
    const terminal = new FakeTerminal(columns);
    const view = viewOf(terminal);
    view.begin("stressing, round 4", 30_000);
    view.update(3000, { shared: 12, sharing: 12 }, ["51,234 operations/s", "9,876 copies/s"]);
    vi.advanceTimersByTime(3000);
    expect(terminal.line).toBe(line);
    view.end();
  });

  it("tells how long a stage has taken whose end is not known", () => {
    expect(lineAt(80, 0.9, "starting", { total: 0 })).toBe(" starting");
    expect(lineAt(80, 2, "starting", { total: 0 })).toBe(" starting  2 s");
  });

  it("keeps what merging has come to when the next stage begins", () => {
    const terminal = new FakeTerminal(80);
    const view = viewOf(terminal);
    view.begin("merging, pass 2", 100);
    view.update(100, { shared: 2, sharing: 3 });
    view.begin("verifying", 100);
    expect(terminal.line).toBe(" verifying    0%  2 shared  12 KiB saved");
    view.end();
  });

  it("is as wide as the terminal is now", () => {
    const terminal = new FakeTerminal(120);
    const view = viewOf(terminal);
    view.begin("loading", 100);
    expect(terminal.line).toContain("[");
    terminal.columns = 40;
    vi.advanceTimersByTime(100);
    expect(terminal.line).toBe(" loading    0%");
    view.end();
  });

  it("is written at most ten times a second, and only when it is another one", () => {
    const terminal = new FakeTerminal(80);
    const view = viewOf(terminal);
    view.begin("loading", 1000);
    for (let done = 0; done < 1000; done++) {
      view.update(done, { shared: 0, sharing: 0 });
      vi.advanceTimersByTime(1);
    }
    // At 0, 100, ... 1,000 ms.
    expect(terminal.written.length).toBe(11);
    const { length } = terminal.written;
    view.begin("waiting", 0);
    vi.advanceTimersByTime(900);
    expect(terminal.written.length).toBe(length + 1);
    view.end();
  });

  it("ends as often as one likes, and leaves no timer and no listener", () => {
    const signals = ["SIGINT", "SIGTERM", "exit"];
    const listeners = (): number[] => signals.map((name) => process.listenerCount(name));
    const before = listeners();
    const terminal = new FakeTerminal(80);
    const view = viewOf(terminal);
    view.end();
    expect(terminal.written).toEqual([]);
    view.begin("loading", 10);
    view.begin("merging, pass 1", 10);
    expect(listeners().slice(0, 2)).toEqual(before.slice(0, 2));
    view.end();
    expect(terminal.written.at(-1)).toBe("\r\x1b[J");
    const { length } = terminal.written;
    view.end();
    view.update(5, { shared: 1, sharing: 1 });
    vi.advanceTimersByTime(1000);
    expect(terminal.written.length).toBe(length);
    expect(vi.getTimerCount()).toBe(0);
    expect(listeners()).toEqual(before);
  });

  it.each([
    ["with --quiet", { quiet: true }],
    ["in CI", { env: { CI: "true" } }],
    ["on a dumb terminal", { env: { TERM: "dumb" } }],
  ])("is not there %s", (_, options) => {
    const terminal = new FakeTerminal(80);
    const view = viewOf(terminal, options);
    view.begin("loading", 10);
    view.update(5, { shared: 1, sharing: 1 });
    vi.advanceTimersByTime(1000);
    view.end();
    expect(terminal.written).toEqual([]);
  });

  it.each(["", "0", "false", "False"])("is there with CI=%j", (CI) => {
    const terminal = new FakeTerminal(80);
    const view = viewOf(terminal, { env: { CI } });
    view.begin("loading", 10);
    view.end();
    expect(terminal.written.length).toBeGreaterThan(0);
  });
});

/** Runs a program on a terminal that has `view` and `drawn()`, which resolves at the next redraw. */
function driven(program: string, setting: Setting): ReturnType<typeof onTerminal> {
  const text = `
    const { createProgress } = await import(${JSON.stringify(MODULE.href)});
    const { stderr, env } = process;
    const view = createProgress(stderr, { quiet: false, env });
    const write = stderr.write.bind(stderr);
    let redrawn = () => {};
    stderr.write = (text) => (write(text), redrawn(), true);
    const drawn = () => new Promise((resolve) => { redrawn = resolve; });
    ${program}`;
  return onTerminal([process.execPath, "--input-type=module", "-e", text], setting);
}

describe.skipIf(!hasTerminal)("a terminal", () => {
  it.each([25, 40, 80, 120])("of %i columns has nothing of it in the end", async (columns) => {
    const program = `
      console.log("before");
      for (const stage of ["loading", "merging, pass 2", "verifying"]) {
        view.begin(stage, 12_345_678);
        view.update(1_234_567, { shared: 123_456, sharing: 2_345_678 });
        await drawn();
      }
      view.end();
      console.log("after");`;
    const seen = await driven(program, { columns });
    expect(seen).toMatchObject({ status: 0, folded: 0, screen: ["before", "after"] });
    expect(seen.cursor).toEqual({ line: 2, column: 0, isVisible: true });
    const frames = seen.frames.filter((frame) => frame.startsWith(" "));
    expect(frames.length).toBeGreaterThan(2);
    expect(Math.max(...frames.map((frame) => frame.length))).toBeLessThan(columns);
  });

  it("that becomes narrower has nothing of it in the end", async () => {
    const program = `
      const resized = new Promise((resolve) => stderr.once("resize", resolve));
      view.begin("merging, pass 2", 0);
      view.update(123_456, { shared: 1_234, sharing: 76_800 });
      await resized;
      await drawn();
      view.end();
      console.log("after");`;
    const setting = { columns: 80, actions: [{ after: "saved", columns: 30 }] };
    const seen = await driven(program, setting);
    expect(seen.frames).toContain(" merging, pass 2  123,456 pages  1,234 shared  300.0 MiB saved");
    expect(seen.frames.at(-2)).toMatch(/^ merging, pass 2( {2}\d+ s)?$/);
    expect(seen).toMatchObject({ status: 0, folded: 0, screen: ["after"] });
  });

  it("has nothing of it when the process exits meanwhile", async () => {
    const seen = await driven('view.begin("loading", 10); process.exit(7);', { columns: 80 });
    expect(seen).toMatchObject({ status: 7, screen: [], frames: [" loading    0%"] });
  });

  it("gets no mode that is not the one it had", async () => {
    const { output } = await driven('view.begin("loading", 10); view.end();', { columns: 80 });
    expect(output).toBe("\r loading    0%\x1b[J\r\r\x1b[J");
  });
});
