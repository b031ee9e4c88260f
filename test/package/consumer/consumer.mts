/** consumer - uses every export as an embedder's TypeScript would; type-checked against the installed package. */
import {
  type AttachedEngine,
  attachEngine,
  type CallOptions,
  type CheckReport,
  type Counters,
  createEngine,
  type Engine,
  type EngineEvents,
  type EngineGuest,
  type EngineHandle,
  type EngineOptions,
  ERROR_CODES,
  type ErrorCode,
  type FrameStats,
  type Guest,
  type GuestOptions,
  type GuestProgram,
  type GuestReport,
  type HashName,
  type HistogramRow,
  InvariantError,
  type KernelImplementation,
  type Knobs,
  type Ksm,
  PAGE_SIZE,
  PagefoldError,
  type Pin,
  type PinnedPage,
  type ProgramContext,
  type Report,
  type Stats,
  type Vcpu,
} from "pagefold";

const kernels: KernelImplementation = "simd";
const hash: HashName = "xxh3-64";
const knobs: Partial<Knobs> = { run: 1, sleepMillisecs: 0 };
const options: EngineOptions = { nodes: 2, kernels, hash, ksm: knobs };

const program: GuestProgram = (vcpu: Vcpu, { args, signal }: ProgramContext) => {
  vcpu.store32(0, Number(args));
  return signal.aborted ? undefined : vcpu.run((inside) => inside.load32(0));
};

function describe(error: unknown): string {
  if (error instanceof InvariantError) return error.id;
  if (!(error instanceof PagefoldError)) return String(error);
  const code: ErrorCode = error.code;
  return `${code}: ${ERROR_CODES[code]}: ${JSON.stringify(error.details)}`;
}

async function scan(engine: Engine, call: CallOptions): Promise<Counters> {
  const ksm: Ksm = engine.ksm;
  await ksm.set({ maxPageSharing: 16 }, call);
  return ksm.scan(2, call);
}

function bytesOf(guest: Guest): number {
  const pin: Pin = guest.pin(0, PAGE_SIZE);
  const pages: readonly PinnedPage[] = pin.pages;
  const first: Uint8Array | undefined = pages[0]?.bytes;
  pin.release();
  return first?.length ?? 0;
}

async function join(handle: EngineHandle): Promise<number> {
  const attached: AttachedEngine = await attachEngine(handle);
  const { thread } = attached;
  attached.guest(0).write(0, new Uint8Array(1));
  attached.close();
  return thread;
}

async function main(): Promise<void> {
  await using engine: Engine = await createEngine(options);
  const events: EngineEvents["pass"][] = [];
  engine.on("pass", (counters) => events.push([counters]));
  engine.once("crash", (error) => console.error(describe(error)));
  const wanted: GuestOptions = { bytes: PAGE_SIZE, name: "one" };
  const guest: EngineGuest = engine.createGuest(wanted);
  await guest.run(new URL("./guest.mjs", import.meta.url), 1);
  const counters = await scan(engine, { signal: new AbortController().signal });
  const report: Report = await engine.report();
  const rows: readonly (GuestReport | HistogramRow)[] = [...report.guests, ...report.histogram];
  const stats: Stats = engine.stats();
  const frames: FrameStats = stats.frames;
  const { clean }: CheckReport = await engine.check();
  const thread = await join(engine.handle);
  engine.disown(thread);
  console.log(counters.pages_sharing, rows.length, frames.free, clean, bytesOf(guest));
  // @ts-expect-error There is no such option.
  engine.createGuest({ byte: PAGE_SIZE });
  // @ts-expect-error There is no such event.
  engine.on("merge", () => {});
  // @ts-expect-error Frames are not written by their owner.
  stats.frames.free = 0;
}

main().catch((error: unknown) => console.error(describe(error), program));
