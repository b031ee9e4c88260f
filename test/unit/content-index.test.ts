/** The index against a Map, under hashes that collide in every way, growth and removal. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { STABLE_HASH_LOW } from "../../src/base/layout.js";
import { attachMemory, createMemoryHandle, type Memory } from "../../src/base/memory.js";
import type { PageKernels } from "../../src/base/page-kernels.js";
import {
  type Content,
  candidateContent,
  clearIndex,
  contentIsStable,
  contentNumber,
  createIndex,
  findContent,
  indexSize,
  insertContent,
  NO_CONTENT,
  nextContent,
  removeContent,
  replaceContent,
  stableContent,
} from "../../src/ksm/content-index.js";
import { setHash } from "../../src/ksm/item.js";
import { stableWord } from "../../src/mm/keyhole.js";

const CONTENTS = 1024;

const SIZES = {
  framesPerBlockShift: 4,
  ...{ blocks: 1, nodes: 1, shards: 1, threads: 1, guests: 2, vcpus: 1 },
  slots: CONTENTS,
  stableNodes: CONTENTS,
};

function createMachine(): Memory {
  const handle = createMemoryHandle(SIZES, { polls: 1, scanMs: 1, faultMs: 1 }, [0]);
  return attachMemory(handle, 0, () => ({}) as PageKernels);
}

type Hash = readonly [low: number, high: number];

/** Contents under their hash: the newest first, as the index lists them. */
class Model {
  readonly memory = createMachine();
  readonly index = createIndex();
  readonly lists = new Map<string, Content[]>();

  insert(hash: Hash, content: Content): void {
    this.name(hash, content);
    insertContent(this.index, this.memory, ...hash, content);
    this.lists.set(String(hash), [content, ...this.of(hash)]);
  }

  remove(hash: Hash, content: Content): void {
    const list = this.of(hash);
    const there = list.includes(content);
    expect(removeContent(this.index, this.memory, ...hash, content)).toBe(there);
    const rest = list.filter((each) => each !== content);
    if (rest.length > 0) this.lists.set(String(hash), rest);
    else this.lists.delete(String(hash));
  }

  replace(hash: Hash, content: Content, fresh: Content): void {
    this.name(hash, fresh);
    const list = this.of(hash);
    const there = list.includes(content);
    expect(replaceContent(this.index, this.memory, ...hash, content, fresh)).toBe(there);
    if (there) {
      this.lists.set(
        String(hash),
        list.map((each) => (each === content ? fresh : each)),
      );
    }
  }

  of(hash: Hash): Content[] {
    return this.lists.get(String(hash)) ?? [];
  }

  expectSame(hash: Hash): void {
    const found: Content[] = [];
    let content = findContent(this.index, ...hash);
    for (; content !== NO_CONTENT && found.length <= CONTENTS; ) {
      found.push(content);
      content = nextContent(this.memory, content);
    }
    expect(found).toEqual(this.of(hash));
  }

  expectAllSame(hashes: readonly Hash[]): void {
    expect(indexSize(this.index)).toBe(this.lists.size);
    for (const hash of hashes) this.expectSame(hash);
  }

  /** A content carries the low half of its hash in its record; the high half is the caller's to know. */
  private name(hash: Hash, content: Content): void {
    const number = contentNumber(content);
    if (contentIsStable(content)) {
      this.memory.control[stableWord(this.memory, number) + STABLE_HASH_LOW] = hash[0];
    } else {
      setHash(this.memory, number, ...hash);
    }
  }
}

/** A few halves, so that hashes agree in one and in both; lows at both ends, so that homes wrap around. */
const LOWS = [0, 1, 2, 3, -1, -2, -3, 0x7fffffff, -0x80000000, 0x12345678, 0x12345679];
const HIGHS = [0, 1, -1, 0x7fffffff];
const HASHES: readonly Hash[] = LOWS.flatMap((low) => HIGHS.map((high) => [low, high] as const));

const operation = fc.record({
  kind: fc.constantFrom("insert", "insert", "remove", "remove any", "replace", "clear"),
  hash: fc.nat(HASHES.length - 1),
  number: fc.nat(CONTENTS - 1),
  stable: fc.boolean(),
});

describe("the content index", () => {
  it("is a Map from hashes to lists, whatever is done to it", () => {
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 200, size: "max" }), (operations) => {
        const model = new Model();
        const where = new Map<Content, Hash>();
        for (const { kind, hash: at, number, stable } of operations) {
          const content = stable ? stableContent(number) : candidateContent(number);
          const hash = HASHES[at];
          const home = where.get(content);
          if (kind === "clear" && number < 100) {
            clearIndex(model.index);
            model.lists.clear();
            where.clear();
          } else if (kind === "insert" && home === undefined) {
            model.insert(hash, content);
            where.set(content, hash);
          } else if (kind.startsWith("remove")) {
            const victim = kind === "remove" ? content : (model.of(hash).at(-1) ?? content);
            model.remove(hash, victim);
            if (String(where.get(victim)) === String(hash)) where.delete(victim);
          } else if (kind === "replace" && home === undefined && model.of(hash).length > 0) {
            const old = model.of(hash)[number % model.of(hash).length];
            model.replace(hash, old, content);
            where.delete(old);
            where.set(content, hash);
          }
          model.expectSame(hash);
        }
        model.expectAllSame(HASHES);
      }),
      { numRuns: 60 },
    );
  });

  it("grows and shrinks with hundreds of hashes", () => {
    const hash = fc.tuple(fc.integer(), fc.integer());
    const hashes = fc.uniqueArray(hash, { minLength: 200, maxLength: 700, selector: String });
    fc.assert(
      fc.property(hashes, fc.infiniteStream(fc.nat(2)), (all, keep) => {
        const model = new Model();
        all.forEach((each, number) => {
          model.insert(each, candidateContent(number));
        });
        model.expectAllSame(all);
        all.forEach((each, number) => {
          if (keep.next().value !== 0) model.remove(each, candidateContent(number));
        });
        model.expectAllSame(all);
      }),
      { numRuns: 10 },
    );
  });

  it("keeps hashes apart that begin at one home and wrap around the end", () => {
    const model = new Model();
    const hashes: Hash[] = Array.from({ length: 40 }, (_, at) => [-1 - (at % 4), at >> 2]);
    hashes.forEach((hash, number) => {
      model.insert(hash, stableContent(number));
    });
    model.expectAllSame(hashes);
    for (let at = 0; at < 40; at += 3) model.remove(hashes[at], stableContent(at));
    model.expectAllSame(hashes);
    for (let at = 39; at >= 0; at--) {
      model.remove(hashes[at], stableContent(at));
      model.expectAllSame(hashes);
    }
    expect(indexSize(model.index)).toBe(0);
  });

  it("lists every content that has one hash", () => {
    const model = new Model();
    const hash = [5, 6] as const;
    for (let number = 0; number < CONTENTS; number++) {
      model.insert(hash, number % 2 === 0 ? candidateContent(number) : stableContent(number));
    }
    model.expectAllSame([hash]);
    for (let number = 0; number < CONTENTS; number += 2)
      model.remove(hash, candidateContent(number));
    model.expectAllSame([hash]);
    model.remove(hash, candidateContent(0));
    expect(indexSize(model.index)).toBe(1);
  });
});
