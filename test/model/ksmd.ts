/** ksmd - the shipped ksmd in a tiny machine: passes before the search, and as a thread of it. */
import type { Counters } from "../../src/ksm/counters.js";
import type { Shard } from "../../src/ksm/shard.js";
import type { Scenario, Step } from "./explorer.js";
import type { Production } from "./loader.js";
import { TinyMachine, type TinyOptions } from "./machine.js";

/** Number of ksmd's thread; vCPUs' threads have other numbers. */
const KSMD = 5;

export class KsmMachine extends TinyMachine {
  readonly shard: Shard;

  constructor(production: Production, options: TinyOptions) {
    super(production, options);
    const { knobs, layout } = production;
    knobs.writeKnobs(this.memory, { ...knobs.KNOB_DEFAULTS, run: 1 });
    const guests = this.memory.layout.engine + layout.ENGINE_GUESTS;
    this.memory.control[guests] = options.guests?.length ?? 1;
    // Outside of any thread's body: its index is private words, which the explorer puts back.
    this.shard = production.shards.createShard(this.view(KSMD), 0);
  }

  /** Ends the pass under way, or does one. */
  pass(): void {
    const { scan } = this.production;
    while (scan.scanBatch(this.shard, 64) !== scan.SCAN_PASS_ENDED);
  }

  /** Gives all contents one hash, so that the bytes alone tell them apart. */
  hashPoorly(): void {
    this.shard.memory.kernels.hashPages = (_pfns, count, hashes) => hashes.fill(1, 0, 2 * count);
  }

  get counters(): Counters {
    return this.production.counters.readCounters(this.memory);
  }

  /** Recounts, and audits the whole machine with the shipped check(). */
  override checkCounts(extra?: ReadonlyMap<number, number>): void {
    super.checkCounts(extra);
    if (extra !== undefined) return;
    const { problems } = this.production.audit.checkMachine(this.shard);
    if (problems.length > 0) throw new Error(problems.join("; "));
  }

  /**
   * A scenario in which a guest's thread (its name begins with "vcpu") never sleeps: wherever ksmd stands,
   * guests go on. And in which a frame's mapping word never names a node that is not linked (O8), nor a sharer list
   * changes without the page lock (O9).
   */
  ksmScenario(threads: Scenario["threads"], check: () => void = () => {}): Scenario {
    return this.scenario(
      threads,
      () => {
        this.checkCounts();
        check();
      },
      (step) => {
        if (step.kind === "sleep" && step.thread.startsWith("vcpu")) {
          throw new Error(`${step.thread} waits for ksmd`);
        }
        this.checkKey(step);
        this.checkList(step);
      },
    );
  }

  private checkKey(step: Step): void {
    const { layout, rmap } = this.production;
    const { blockLayout, control } = this.memory;
    if (step.kind !== "store" || step.words === control || step.index >= blockLayout.cold) return;
    if ((step.index & 3) !== layout.RECORD_MAPPING) return;
    if (layout.mappingTag(step.value) !== layout.MAPPING_TAG_KSM) return;
    if (rmap.firstSharer(this.memory, layout.mappingId(step.value)) < 0) {
      throw new Error("MAP-2: the mapping word names a node that is not linked");
    }
  }

  /** The list of a node whose frame is alive changes, and is walked by others than ksmd, under its page lock. */
  private checkList(step: Step): void {
    const { base, keyhole, layout, pageMapping, pageRef } = this.production;
    const { control, layout: at, sizes } = this.memory;
    const word = step.index - at.stable;
    const walks = step.kind === "plainLoad" && step.thread !== "ksmd";
    if ((!walks && step.kind !== "plainStore") || step.words !== control) return;
    if (word < 0 || word >= sizes.stableNodes * layout.STABLE_WORDS) return;
    if (word % layout.STABLE_WORDS !== layout.STABLE_FIRST) return;
    const stable = Math.floor(word / layout.STABLE_WORDS);
    const pfn = keyhole.namedFrame(this.memory, stable);
    const state = control[keyhole.stableWord(this.memory, stable) + layout.STABLE_STATE] as number;
    if (pageMapping.readMapping(this.memory, pfn) !== this.key(stable, state >>> 1)) return;
    if (pageRef.pageRef(this.memory, pfn) === 0) return;
    const record = base.recordWord(this.memory, pfn) + layout.RECORD_LOCK;
    const lock = base.blockOf(this.memory, pfn).words[record] as number;
    const owner = lock >>> layout.LOCK_OWNER_SHIFT;
    if (walks ? owner !== 0 && owner !== KSMD + 1 : owner === KSMD + 1) return;
    throw new Error("RMAP-1: a sharer list without the page lock of its frame");
  }
}
