/**
 * actor - one vCPU of a stress: it writes, reads and pins pages of its guest at random, and checks each byte
 * that it reads.
 *
 * The pages of a guest are divided among its vCPUs by number. Of its own pages an actor knows every byte, and says so
 * in the guest's ledger, in which the others look it up. Of a page that its owner is writing at that moment is known
 * that each word is a pattern's, or a stamp of this very page.
 */
import { PAGE_SIZE, PAGE_WORDS } from "../../base/units.js";
import type { Vcpu } from "../../index.js";
import { Pin } from "../../machine/pin.js";
import { Random } from "../random.js";
import { type Contents, VERSIONS } from "./contents.js";
import { Latencies } from "./latency.js";
import type { Holding, Ledger } from "./ledger.js";

/** What a vCPU does, and how often in a hundred. */
const OPERATIONS = {
  write_pattern: 22,
  write_stamp: 10,
  write_part: 9,
  write_words: 4,
  write_same: 9,
  read_own: 22,
  read_words: 8,
  read_other: 12,
  watch: 1,
  pin: 3,
} as const;

/** Beside them, rarely, because it takes so long: once in so many operations. */
const LINGERS_IN = 4096;
/** Pages that it writes, and how long it waits between, in milliseconds: for less than ksmd waits for a vCPU. */
const LINGERED = 8;
const LINGER_MS_MIN = 5;
const LINGER_MS_MAX = 15;

type Operation = keyof typeof OPERATIONS | "linger" | "pinned" | "sweep";

const DRAWN = Object.entries(OPERATIONS).flatMap(([operation, part]) =>
  Array.from({ length: part }, () => operation as keyof typeof OPERATIONS),
);

/** Pages that are held at a time, each for a number of operations. */
const PINS = 4;
/** Own pages that are at work at a time: the others are quiet, or nothing would ever merge. */
const WINDOW = 24;
/** Operations with one window. */
const WINDOW_OPERATIONS = 256;
/** Pages that are watched at a time, and how often each is looked at: for as long as a section may last. */
const WATCHED = 256;
const LOOKS = 4;
/** Operations that are remembered. */
const RECENT = 64;

export interface ActorSpec {
  readonly guest: number;
  /** Which of the guest's vCPUs it is, and how many there are. */
  readonly vcpu: number;
  readonly vcpus: number;
  /** Pages of the guest. */
  readonly pages: number;
  readonly seed: number;
}

export interface Operations {
  writes: number;
  reads: number;
  pins: number;
}

/** A page that does not hold what it must. */
export interface WrongPage {
  readonly guest: number;
  readonly gfn: number;
  readonly vcpu: number;
  readonly operation: Operation;
  /** How many operations the vCPU had done. */
  readonly after: number;
  /** Byte of the page at which the first wrong word begins. */
  readonly offset: number;
  /** The word that must be there, or null where one of several may. */
  readonly expected: number | null;
  readonly found: number;
  /** What must be there: zeros, pattern n, version n. */
  readonly content: string;
  /** The version that must be there; 0: none. */
  readonly version: number;
}

/** What a vCPU did, the latest last. */
export interface Done {
  readonly operation: Operation;
  readonly gfn: number;
}

interface Held {
  readonly page: number;
  readonly pin: Pin;
}

export class Actor {
  readonly operations: Operations = { writes: 0, reads: 0, pins: 0 };
  /** Of all operations but lingering, which waits on purpose. */
  readonly latencies = new Latencies();
  readonly #spec: ActorSpec;
  readonly #contents: Contents;
  readonly #vcpu: Vcpu;
  readonly #random: Random;
  readonly #ledger: Ledger;
  /** By own page: its last version. */
  readonly #version: Uint32Array;
  /** By page of the guest: what its stamps begin with. */
  readonly #base: Int32Array;
  readonly #words = new Int32Array(PAGE_WORDS);
  readonly #bytes = new Uint8Array(this.#words.buffer);
  readonly #held: Held[] = [];
  readonly #recent: Done[] = [];
  #window = 0;
  #count = 0;

  /** The guest's pages are zeros. */
  constructor(vcpu: Vcpu, spec: ActorSpec, contents: Contents, ledger: Ledger) {
    this.#vcpu = vcpu;
    this.#ledger = ledger;
    this.#spec = spec;
    this.#contents = contents;
    this.#random = new Random(spec.seed);
    const own = Math.ceil((spec.pages - spec.vcpu) / spec.vcpus);
    this.#version = new Uint32Array(own);
    this.#base = Int32Array.from({ length: spec.pages }, (_, gfn) =>
      contents.baseOf(spec.guest, gfn),
    );
  }

  /** The operations that were last, oldest first. */
  get recent(): readonly Done[] {
    const at = this.#count % RECENT;
    return [...this.#recent.slice(at), ...this.#recent.slice(0, at)];
  }

  /** Does some operations; returns what is wrong with the first page that is. */
  work(operations: number): WrongPage | null {
    for (let i = 0; i < operations; i++) {
      const wrong = this.#operate();
      if (wrong !== null) return wrong;
    }
    return null;
  }

  /** Lets go of pins, and reads every page of its own. */
  sweep(): WrongPage | null {
    while (this.#held.length > 0) {
      const wrong = this.#release();
      if (wrong !== null) return wrong;
    }
    for (let page = 0; page < this.#version.length; page++) {
      this.#vcpu.read(this.#gfn(page) * PAGE_SIZE, this.#bytes);
      const wrong = this.#checkOwn(page, "sweep");
      if (wrong !== null) return wrong;
    }
    return null;
  }

  #operate(): WrongPage | null {
    if (this.#count % WINDOW_OPERATIONS === 0)
      this.#window = this.#random.below(this.#version.length);
    const lingers = this.#random.below(LINGERS_IN) === 0;
    const operation = lingers ? "linger" : this.#random.oneOf(DRAWN);
    const page = (this.#window + this.#random.below(WINDOW)) % this.#version.length;
    const gfn = operation === "read_other" ? this.#random.below(this.#spec.pages) : this.#gfn(page);
    this.#recent[this.#count++ % RECENT] = { operation, gfn };
    switch (operation) {
      case "write_pattern":
        return this.#writeWhole(page, this.#random.below(this.#contents.patterns + 1));
      case "write_stamp":
        return this.#writeWhole(page, this.#nextVersion(page));
      case "write_part":
        return this.#writePart(page);
      case "write_words":
        return this.#writeWords(page);
      case "write_same":
        return this.#writeSame(page);
      case "read_own":
        return this.#readOwn(page);
      case "read_words":
        return this.#readWords(page);
      case "read_other":
        return this.#readOther(gfn);
      case "watch":
        return this.#watch(gfn);
      case "linger":
        return this.#linger(page);
      case "pin":
        return this.#held.length < PINS ? this.#pin(page) : this.#release();
    }
  }

  #gfn(page: number): number {
    return this.#spec.vcpu + page * this.#spec.vcpus;
  }

  #nextVersion(page: number): number {
    const version = ((this.#version[page] as number) % (VERSIONS - 1)) + 1;
    this.#version[page] = version;
    return this.#contents.codeOfVersion(version);
  }

  /** Has `write` make the page what `holding` says. */
  #change(gfn: number, holding: Holding, write: () => void): void {
    this.#ledger.begin(gfn);
    const started = performance.now();
    write();
    this.#took(started);
    this.#ledger.end(gfn, holding);
    this.operations.writes++;
  }

  #writeWhole(page: number, code: number): null {
    const gfn = this.#gfn(page);
    this.#contents.fill(this.#words, code, this.#base[gfn] as number);
    this.#change(gfn, whole(code), () => this.#vcpu.write(gfn * PAGE_SIZE, this.#bytes));
    return null;
  }

  /** The first words get a new version, the others stay. */
  #writePart(page: number): null {
    const code = this.#nextVersion(page);
    const gfn = this.#gfn(page);
    const { head, cut: before } = this.#ledger.own(gfn);
    // A page has two parts at most.
    if (before !== PAGE_WORDS) return this.#writeWhole(page, code);
    const cut = 1 + this.#random.below(PAGE_WORDS - 1);
    this.#contents.fill(this.#words, code, this.#base[gfn] as number, 0, cut);
    const part = this.#bytes.subarray(0, cut * 4);
    this.#change(gfn, { head: code, tail: head, cut }, () =>
      this.#vcpu.write(gfn * PAGE_SIZE, part),
    );
    return null;
  }

  /** A new version, a word at a time, in one section. */
  #writeWords(page: number): null {
    const code = this.#nextVersion(page);
    const gfn = this.#gfn(page);
    this.#contents.fill(this.#words, code, this.#base[gfn] as number);
    const section = (vcpu: Vcpu): void => {
      const from = gfn * PAGE_SIZE;
      for (let i = 0; i < PAGE_WORDS; i++) vcpu.store32(from + i * 4, this.#words[i] as number);
    };
    this.#change(gfn, whole(code), () => this.#vcpu.run(section));
    return null;
  }

  /** Writes what is there: a merged page is copied, and may be merged again as it was. */
  #writeSame(page: number): null {
    const i = this.#random.below(PAGE_WORDS);
    const gfn = this.#gfn(page);
    const word = this.#wordOf(gfn, this.#ledger.own(gfn), i);
    const started = performance.now();
    this.#vcpu.store32(gfn * PAGE_SIZE + i * 4, word);
    this.#took(started);
    this.operations.writes++;
    return null;
  }

  #readOwn(page: number): WrongPage | null {
    const started = performance.now();
    this.#vcpu.read(this.#gfn(page) * PAGE_SIZE, this.#bytes);
    this.#didRead(started);
    return this.#checkOwn(page, "read_own");
  }

  /** A word here and there, in one section. */
  #readWords(page: number): WrongPage | null {
    const gfn = this.#gfn(page);
    const from = gfn * PAGE_SIZE;
    const first = this.#random.below(PAGE_WORDS / 16);
    const started = performance.now();
    this.#vcpu.run((vcpu) => {
      for (let i = first; i < PAGE_WORDS; i += PAGE_WORDS / 16) {
        this.#words[i] = vcpu.load32(from + i * 4);
      }
    });
    this.#didRead(started);
    const holding = this.#ledger.own(gfn);
    for (let i = first; i < PAGE_WORDS; i += PAGE_WORDS / 16) {
      if (this.#words[i] === this.#wordOf(gfn, holding, i)) continue;
      return this.#wrong(gfn, holding, i, "read_words");
    }
    return null;
  }

  /** A page that another vCPU may be writing at this moment. */
  #readOther(gfn: number): WrongPage | null {
    const turn = this.#ledger.look(gfn);
    const started = performance.now();
    this.#vcpu.read(gfn * PAGE_SIZE, this.#bytes);
    this.#didRead(started);
    const holding = this.#ledger.again(gfn, turn);
    if (holding === null) return this.#checkWritten(gfn);
    return this.#check(gfn, holding, "read_other");
  }

  /**
   * A word of each of many pages again and again, in one section. Translations that are known by then are used until
   * it ends: whoever takes a page away meanwhile waits for that, or a word of before is found here.
   */
  #watch(first: number): WrongPage | null {
    const { pages } = this.#spec;
    let wrong: WrongPage | null = null;
    const started = performance.now();
    this.#vcpu.run((vcpu) => {
      for (let look = 0; look < LOOKS && wrong === null; look++) {
        for (let n = 0; n < Math.min(WATCHED, pages) && wrong === null; n++) {
          wrong = this.#look(vcpu, (first + n) % pages, look);
        }
      }
    });
    this.#didRead(started);
    return wrong;
  }

  #look(vcpu: Vcpu, gfn: number, i: number): WrongPage | null {
    const turn = this.#ledger.look(gfn);
    const word = vcpu.load32(gfn * PAGE_SIZE + i * 4);
    const holding = this.#ledger.again(gfn, turn);
    if (holding === null || word === this.#wordOf(gfn, holding, i)) return null;
    this.#words[i] = word;
    return this.#wrong(gfn, holding, i, "watch");
  }

  /**
   * Stores, and stores again much later, in one section without a safepoint: by translations that are known, and that
   * ksmd must not believe gone before the section ends. It passes by meanwhile, and takes the pages for quiet ones
   * that others have, too. A store that went to a frame of before is missed at the end.
   */
  #linger(first: number): WrongPage | null {
    const own = this.#version.length;
    const pages = Array.from({ length: Math.min(LINGERED, own) }, (_, n) => (first + n) % own);
    const pattern = 1 + this.#random.below(this.#contents.patterns);
    const ms = LINGER_MS_MIN + this.#random.below(LINGER_MS_MAX - LINGER_MS_MIN + 1);
    for (const page of pages) this.#writeWhole(page, pattern);
    this.#vcpu.run((vcpu) => {
      for (const page of pages) this.#storeFirst(vcpu, page, pattern, pattern);
      const end = performance.now() + ms;
      while (performance.now() < end);
      for (const page of pages) this.#storeFirst(vcpu, page, this.#nextVersion(page), pattern);
    });
    this.operations.writes += pages.length;
    for (const page of pages) {
      this.#vcpu.read(this.#gfn(page) * PAGE_SIZE, this.#bytes);
      const wrong = this.#checkOwn(page, "linger");
      if (wrong !== null) return wrong;
    }
    return null;
  }

  /** The first word gets content `head`; the others have content `tail`. */
  #storeFirst(vcpu: Vcpu, page: number, head: number, tail: number): void {
    const gfn = this.#gfn(page);
    const word = this.#contents.word(head, this.#base[gfn] as number, 0);
    this.#ledger.begin(gfn);
    vcpu.store32(gfn * PAGE_SIZE, word);
    this.#ledger.end(gfn, { head, tail, cut: 1 });
  }

  #pin(page: number): WrongPage | null {
    const started = performance.now();
    const pin = new Pin(this.#vcpu.tlb, this.#gfn(page) * PAGE_SIZE, PAGE_SIZE);
    this.#took(started);
    this.operations.pins++;
    this.#held.push({ page, pin });
    this.#bytes.set(pin.pages[0]?.bytes as Uint8Array);
    return this.#checkOwn(page, "pinned");
  }

  /** Writes through the oldest pin as a device does, and lets go of it. */
  #release(): WrongPage | null {
    const { page, pin } = this.#held.shift() as Held;
    const bytes = pin.pages[0]?.bytes as Uint8Array;
    // Moved or merged meanwhile, it is not the guest's page any more.
    this.#bytes.set(bytes);
    const wrong = this.#checkOwn(page, "pinned");
    if (wrong === null) {
      const gfn = this.#gfn(page);
      const code = this.#nextVersion(page);
      this.#contents.fill(this.#words, code, this.#base[gfn] as number);
      this.#change(gfn, whole(code), () => bytes.set(this.#bytes));
    }
    pin.release();
    return wrong ?? this.#readOwn(page);
  }

  #wordOf(gfn: number, { head, tail, cut }: Holding, i: number): number {
    return this.#contents.word(i < cut ? head : tail, this.#base[gfn] as number, i);
  }

  /** Is what was read of an own page what was written there last? */
  #checkOwn(page: number, operation: Operation): WrongPage | null {
    const gfn = this.#gfn(page);
    return this.#check(gfn, this.#ledger.own(gfn), operation);
  }

  #check(gfn: number, holding: Holding, operation: Operation): WrongPage | null {
    const { head, tail, cut } = holding;
    const base = this.#base[gfn] as number;
    const first = this.#contents.firstWrong(this.#words, head, base, 0, cut);
    if (first >= 0) return this.#wrong(gfn, holding, first, operation);
    const second = this.#contents.firstWrong(this.#words, tail, base, cut, PAGE_WORDS);
    return second >= 0 ? this.#wrong(gfn, holding, second, operation) : null;
  }

  /** May what was read of a page that was being written be there? */
  #checkWritten(gfn: number): WrongPage | null {
    const base = this.#base[gfn] as number;
    const i = this.#words.findIndex((word, at) => this.#contents.codeOf(word, base, at) < 0);
    if (i < 0) return null;
    return {
      ...this.#found(gfn, i, "read_other"),
      ...{ expected: null, content: "zeros, a pattern, or a version", version: 0 },
    };
  }

  #wrong(gfn: number, holding: Holding, i: number, operation: Operation): WrongPage {
    const code = i < holding.cut ? holding.head : holding.tail;
    return {
      ...this.#found(gfn, i, operation),
      expected: this.#wordOf(gfn, holding, i),
      content: this.#contents.describe(code),
      version: this.#contents.versionOf(code),
    };
  }

  #found(gfn: number, i: number, operation: Operation) {
    const { guest, vcpu } = this.#spec;
    const found = this.#words[i] as number;
    return { guest, gfn, vcpu, operation, after: this.#count, offset: i * 4, found };
  }

  #didRead(started: number): void {
    this.#took(started);
    this.operations.reads++;
  }

  #took(started: number): void {
    this.latencies.add(performance.now() - started);
  }
}

function whole(code: number): Holding {
  return { head: code, tail: code, cut: PAGE_WORDS };
}
