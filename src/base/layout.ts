/**
 * layout - the one source of offsets and bits. Nobody else adds a number to an index or shifts a word.
 *
 * Two kinds of shared memory:
 *
 *   block (one per BLOCK of a node)
 *     | frame records, hot | frame records, cold | free bitmap | isolated bitmap | block line |
 *     | scratch per thread | frames |
 *   control (one)
 *     | engine | knobs | shards | migrations | threads | blocks | guests | vcpus | tlb tags | chunk owners |
 *     | ptes | items | bitmaps | moved | stable nodes |
 *
 * Letters: A atomic; L frame's page lock; K ksmd's shard only; C constant after creation.
 */
import { NUMBER_MAX, PAGE_SIZE, WASM_PAGE_SIZE } from "./units.js";

// ---------------------------------------------------------------------------------------------
// frame record: 4 hot words (16 bytes, never across a cache line) and one cold word
//
//   hot  0 ref       A    0 free; > 0 holders; negative FROZEN
//        1 lock      A    page lock
//        2 mapcount  A    ptes that map the frame
//        3 mapping   A    who owns the frame (see below); changes only under L once it is a KSM frame
//   cold 0 index     A    gfn of the page while used; next frame while in limbo
export const RECORD_WORDS = 4;
export const RECORD_REF = 0;
export const RECORD_LOCK = 1;
export const RECORD_MAPCOUNT = 2;
export const RECORD_MAPPING = 3;

// mapping word
//    31 ..... 26 25 .................... 2 1 0
//   +-----------+-------------------------+---+
//   |generation |  guest family, or node  |tag|    tag 0 nobody, 1 anonymous, 2 KSM
//   +-----------+-------------------------+---+
export const MAPPING_NOBODY = 0;
export const MAPPING_TAG_MASK = 3;
export const MAPPING_TAG_ANON = 1;
export const MAPPING_TAG_KSM = 2;
const MAPPING_ID_SHIFT = 2;
const MAPPING_ID_MASK = NUMBER_MAX;
const MAPPING_GENERATION_SHIFT = 26;
export const GENERATION_MASK = 63;

export function anonMapping(family: number): number {
  return (family << MAPPING_ID_SHIFT) | MAPPING_TAG_ANON;
}

export function ksmMapping(stable: number, generation: number): number {
  return (
    ((generation & GENERATION_MASK) << MAPPING_GENERATION_SHIFT) |
    (stable << MAPPING_ID_SHIFT) |
    MAPPING_TAG_KSM
  );
}

export function mappingTag(mapping: number): number {
  return mapping & MAPPING_TAG_MASK;
}

export function mappingId(mapping: number): number {
  return (mapping >>> MAPPING_ID_SHIFT) & MAPPING_ID_MASK;
}

// page lock
//    31 ................... 2 1 0
//   +------------------------+---+
//   |  owner thread + 1      | s |    s 0 free, 1 held, 2 held and somebody may sleep
//   +------------------------+---+
export const LOCK_FREE = 0;
export const LOCK_HELD = 1;
export const LOCK_WAITERS = 2;
export const LOCK_STATE_MASK = 3;
export const LOCK_OWNER_SHIFT = 2;

// pte
//    31 ............................ 8 7 6 5 4 3 2 1 0
//   +---------------------------------+---+-+-+-+-+---+
//   |              pfn                | 0 |S|M|D|W| s |   s 0 none, 1 present, 2 entry
//   +---------------------------------+---+-+-+-+-+---+   W writable, D dirty since the last harvest,
//                                                         M on a KSM frame, S somebody sleeps on the word
export const PTE_NONE = 0;
export const PTE_STATE_MASK = 3;
export const PTE_PRESENT = 1;
export const PTE_ENTRY = 2;
export const PTE_WRITABLE = 4;
export const PTE_DIRTY = 8;
export const PTE_MERGED = 16;
export const PTE_SLEEPERS = 32;
const PTE_PFN_SHIFT = 8;
export const PTE_FLAGS_MASK = (1 << PTE_PFN_SHIFT) - 1;

export function makePte(pfn: number, flags: number): number {
  return (pfn << PTE_PFN_SHIFT) | flags;
}

export function ptePfn(pte: number): number {
  return pte >>> PTE_PFN_SHIFT;
}

// kpfn word of a stable node: the frame, and how often it migrated (a bare pfn suffers A -> B -> A)
//    31 ............................ 8 7 ........... 0
//   +---------------------------------+---------------+
//   |              pfn                |  migrations   |
//   +---------------------------------+---------------+
const KPFN_PFN_SHIFT = 8;

export function makeKpfn(pfn: number, migrations: number): number {
  return (pfn << KPFN_PFN_SHIFT) | (migrations & 0xff);
}

export function kpfnPfn(kpfn: number): number {
  return kpfn >>> KPFN_PFN_SHIFT;
}

// vCPU state word
//    31 ............................... 1  0
//   +------------------------------------+--+
//   |  last shootdown number seen (31)   |IN|    IN: the vCPU's thread may use its translations
//   +------------------------------------+--+
export const VCPU_IN = 1;

export function vcpuOutside(seq: number): number {
  return seq << 1;
}

export function vcpuInside(seq: number): number {
  return (seq << 1) | VCPU_IN;
}

/** Has a vCPU whose state word is `state` seen shootdown `seq`? Wraps: good within 2^30 numbers. */
export function vcpuHasSeen(state: number, seq: number): boolean {
  return (((state & ~VCPU_IN) - (seq << 1)) | 0) >= 0;
}

// ring entry of a shootdown: which TLB entry it was for, checked with the low bits of its number. With fewer
// bits an initiator that sleeps between taking its number and storing this would pass for a later one.
//    31 ......................... 10  9  8 ..... 0
//   +-------------------------------+---+---------+
//   |  seq (22 bits)                |all|TLB entry|
//   +-------------------------------+---+---------+
export const SHOOTDOWN_ALL = NUMBER_MAX;
const RING_ALL = 1 << 9;
const RING_SEQ_SHIFT = 10;

export function makeShootdownEntry(gfn: number, seq: number): number {
  const entry = gfn === SHOOTDOWN_ALL ? RING_ALL : gfn & (RING_ALL - 1);
  return (seq << RING_SEQ_SHIFT) | entry;
}

export function shootdownEntryIsFor(entry: number, seq: number): boolean {
  return (entry ^ (seq << RING_SEQ_SHIFT)) >>> RING_SEQ_SHIFT === 0;
}

/** A gfn with the TLB entry that the shootdown was for, or SHOOTDOWN_ALL. */
export function shootdownEntryGfn(entry: number): number {
  return (entry & RING_ALL) !== 0 ? SHOOTDOWN_ALL : entry & (RING_ALL - 1);
}

// ---------------------------------------------------------------------------------------------
// control memory: word offsets within one record of each region
//
// Words that different threads write in a hot path lie at least 128 bytes apart.
export const LINE_WORDS = 32;

// engine line                                                                     (one)
export const ENGINE_STATE = 0; //           A  0, or ENGINE_BROKEN
export const ENGINE_VCPUS = 2; //           A  vCPUs created so far
export const ENGINE_GUESTS = 3; //          A  guests created so far
export const ENGINE_PINS = 4; //            A  pages pinned at this moment (a counter)
export const ENGINE_BLOCK_EPOCH = 5; //     A  changes of blocks that threads have been told of
export const ENGINE_BLOCK_BELL = 6; //      A  such changes, and the ends of adding blocks
export const ENGINE_BLOCK_TRIES = 7; //     A  tries to add a block that have ended, well or not
export const ENGINE_BLOCKS_ADDED = 8; //    A  blocks added since creation (a counter)
export const ENGINE_BLOCKS_REMOVED = 9; //  A  blocks removed since creation (a counter)
export const ENGINE_CLOSED = 10; //         A  1 from the engine's end on
export const ENGINE_WAKE = LINE_WORDS; //   A  ksmd sleeps here
export const ENGINE_KSM_PTES = 2 * LINE_WORDS; // A  ptes with M
export const ENGINE_COW_KSM = 3 * LINE_WORDS; //  A  copies made of KSM frames by write faults
export const ENGINE_DRAINS = 3 * LINE_WORDS + 1; // A  drains of limbo in flight
export const ENGINE_POLICIES = 4 * LINE_WORDS; // A  policies of the migrators, a bit each
export const ENGINE_WORDS = 5 * LINE_WORDS;

/** The other value of ENGINE_STATE: a thread died. */
export const ENGINE_BROKEN = 1;

// knobs: written by ksmd when it executes the command                              (one line)
export const KNOB_RUN = 0;
export const KNOB_PAGES_TO_SCAN = 1;
export const KNOB_SLEEP_MILLISECS = 2;
export const KNOB_MAX_PAGE_SHARING = 3;
export const KNOB_MERGE_ACROSS_NODES = 4;
export const KNOB_WORDS = LINE_WORDS;

// shard: scan state and counters of one ksmd                                       K, read by anybody
export const SHARD_PHASE = 0; //            SCAN_IDLE, SCAN_HARVEST, SCAN_VISIT
export const SHARD_GUEST = 1; //            guest under the cursor
export const SHARD_GFN = 2; //              next page of that guest to visit
export const SHARD_GUEST_END = 3; //        guests of this pass: those there when it began
export const SHARD_ROUND = 4; //            0, then a round for each time that pages are tried again
export const SHARD_RETRIES = 5; //          pages that this round leaves to the next
export const SHARD_ACTIVITY = 6; //         things done in this pass that keep it from being settled
export const SHARD_REWRITTEN = 7; //        known pages seen written in this pass
export const SHARD_SETTLED_AT = 8; //       full_scans after the last pass with neither, or 0
export const SHARD_QUIET_AT = 9; //         full_scans after the last pass without activity, or 0
export const SHARD_FULL_SCANS = 10;
export const SHARD_PAGES_SHARED = 11;
export const SHARD_PAGES_SHARING = 12;
export const SHARD_PAGES_UNSHARED = 13;
export const SHARD_RMAP_ITEMS = 14;
export const SHARD_CHAINS = 15;
export const SHARD_DUPS = 16;
export const SHARD_FREE_NODE = 17; //       first free stable node + 1
export const SHARD_NEXT_NODE = 18; //       first stable node never used
export const SHARD_SKIPPED_GUESTS = 19; //  harvests given up since creation
export const SHARD_STUCK_VCPU = 20; //      the vCPU that caused the last of them + 1
export const SHARD_MIGRATE_LIST = 21; //    first stable node that waits for its place + 1
export const SHARD_WORDS = LINE_WORDS;
// the same shard's counters that outgrow 32 bits (float64)
export const WIDE_PAGES_SCANNED = 0;
export const WIDE_PAGES_HASHED = 1;
export const WIDE_PAGES_MERGED = 2;
export const WIDE_COMPARES = 3;
export const WIDE_BUSY_MS = 4; //           time ksmd was not sleeping
export const WIDE_COUNTERS = 8;

// frames that a thread has tried to move, by outcome (float64)                     one writer each
export const MIGRATION_COUNTERS = 8;

export const SCAN_IDLE = 0;
export const SCAN_HARVEST = 1;
export const SCAN_VISIT = 2;

// block number: whether there is a block, and what it gave back
//
//   ABSENT --> JOINING --> ONLINE --> OFFLINE --> LEAVING --> ABSENT      (mm/blocks.ts)
export const BLOCK_STATE = 0; //            A
export const BLOCK_RELEASED = 1; //         A  ABSENT: frames that had been in use when its memory was given back
export const BLOCK_WORDS = 2;
export const BLOCK_ABSENT = 0;
export const BLOCK_JOINING = 1;
export const BLOCK_ONLINE = 2;
export const BLOCK_OFFLINE = 3;
export const BLOCK_LEAVING = 4;

// block line, in the block
export const BLOCK_FREE = 0; //             A  free frames (a counter)
export const BLOCK_HINT = 1; //             A  word of the free bitmap where the last frame was found
export const BLOCK_TOUCHED = 2; //          A  frames below this have been in use, or may have been
export const BLOCK_ISOLATED = 3; //         A  frames out of use, by the thread that takes the block offline
export const BLOCK_ROUND = 4; //            A  1 while a round isolates frames

// guest, in three lines: constants, the shootdown line, the limbo line
export const GUEST_STATE = 0; //            A  0, or GUEST_LIVE
export const GUEST_BASE = 1; //             C  slot of gfn 0
export const GUEST_PAGES = 2; //            C
export const GUEST_NODE = 3; //             A  home node; read and written racily
export const GUEST_FAMILY = 4; //           C  guests that may map one frame share it
export const GUEST_FAMILY_NEXT = 5; //      A  next guest of the family + 1
export const GUEST_VCPU = 6; //             A  newest vCPU + 1
export const GUEST_SEQ = LINE_WORDS; //     A  shootdownSeq
export const GUEST_RING = LINE_WORDS + 1; //A  the last SHOOTDOWN_RING entries
export const GUEST_LIMBO = 2 * LINE_WORDS; // A  first frame in limbo + 1
export const GUEST_WORDS = 3 * LINE_WORDS;
export const SHOOTDOWN_RING = 8;

/** The other value of GUEST_STATE is 0, unused. */
export const GUEST_LIVE = 1;

// vCPU
export const VCPU_STATE = 0; //             A
export const VCPU_SLEEPERS = 1; //          A  initiators that may sleep on the state word
export const VCPU_GUEST = 2; //             C
export const VCPU_OWNER = 3; //             A  thread + 1, 0 nobody
export const VCPU_NEXT = 4; //              C  next vCPU of the guest + 1
export const VCPU_WORDS = LINE_WORDS;

// TLB tags of a vCPU: gfn of the translation, or NONE. Private to the vCPU but for the initiator's wipe.
export const TLB_SHIFT = 9;
export const TLB_ENTRIES = 1 << TLB_SHIFT;
export const TLB_MASK = TLB_ENTRIES - 1;
export const TLB_READ_TAGS = 0;
export const TLB_WRITE_TAGS = TLB_ENTRIES;
export const TLB_WORDS = 2 * TLB_ENTRIES;

// guests take slots in chunks, so that a slot finds its guest
export const CHUNK_SHIFT = 9;
export const CHUNK_SLOTS = 1 << CHUNK_SHIFT;

// rmap item: ksmd's record of one page                                             K
export const ITEM_HASH_LOW = 0; //            unless STABLE: then it is the node's, and this is ITEM_PREV
export const ITEM_PREV = 0; //     STABLE: previous sharer + 1
export const ITEM_HASH_HIGH = 1;
export const ITEM_STATE = 2; //    state and stable node
export const ITEM_NEXT = 3; //     STABLE: next sharer + 1; UNSTABLE: next content of the same hash
export const ITEM_WORDS = 4;
//    31 ............................ 8 7 .. 4 3 2 0
//   +---------------------------------+------+-+---+
//   | STABLE: the node; T: the tree   |  0   |T| s |    T: the hash is that of the page, until a harvest
//   +---------------------------------+------+-+---+       sees D
export const ITEM_UNSEEN = 0;
export const ITEM_VOLATILE = 1;
export const ITEM_UNSTABLE = 2;
export const ITEM_STABLE = 3;
export const ITEM_TRUSTED = 8;
const ITEM_STATE_MASK = 7;
const ITEM_NODE_SHIFT = 8;

/** `number` is the stable node of a STABLE item, the tree of one with a trusted hash, else 0. */
export function makeItemState(state: number, number: number): number {
  return (number << ITEM_NODE_SHIFT) | state;
}

export function itemState(word: number): number {
  return word & ITEM_STATE_MASK;
}

export function itemNumber(word: number): number {
  return word >>> ITEM_NODE_SHIFT;
}

// stable node: record of one merged frame                      32 bytes: with the items, below 64 bytes a page
export const STABLE_KPFN = 0; //      A   frame and migrations
export const STABLE_STATE = 1; //     K   see below
export const STABLE_FIRST = 2; //     L+K first sharer (slot + 1)
export const STABLE_LENGTH = 3; //    K   sharers
export const STABLE_NEXT_DUP = 4; //  K   ring of the nodes with this content, or migrate list; free: next free + 1
export const STABLE_PREV_DUP = 5; //  K
export const STABLE_HASH_LOW = 6; // K   the high word is in every sharer's item
export const STABLE_SIBLING = 7; //   K   front only: next content of the same hash
export const STABLE_WORDS = 8;
//    31 .......... 14 13 ..... 8  7  6 ........ 1  0
//   +----------------+----------+--+-------------+--+
//   |       0        |   tree   |L | generation  |V |    V live, L on the migrate list
//   +----------------+----------+--+-------------+--+
export const STABLE_LIVE = 1;
export const STABLE_LISTED = 128;
const STABLE_GENERATION_SHIFT = 1;
const STABLE_TREE_SHIFT = 8;
const STABLE_TREE_MASK = 63;

export function makeStableState(generation: number, tree: number, flags: number): number {
  const bits = (generation & GENERATION_MASK) << STABLE_GENERATION_SHIFT;
  return (tree << STABLE_TREE_SHIFT) | bits | flags;
}

export function stableGeneration(state: number): number {
  return (state >>> STABLE_GENERATION_SHIFT) & GENERATION_MASK;
}

export function stableTree(state: number): number {
  return (state >>> STABLE_TREE_SHIFT) & STABLE_TREE_MASK;
}

// ---------------------------------------------------------------------------------------------
// sizes

/** What an engine is built for; constant from creation on, and the same in every thread. */
export interface Sizes {
  readonly framesPerBlockShift: number;
  /** Numbers of blocks, over all nodes: there may be fewer at a time. Each node has as many, in order. */
  readonly blocks: number;
  readonly nodes: number;
  readonly shards: number;
  readonly threads: number;
  readonly guests: number;
  readonly vcpus: number;
  /** Pages of all guests at most. */
  readonly slots: number;
  readonly stableNodes: number;
}

/** Word index of each region of the control memory, and its size in words. */
export interface ControlLayout {
  readonly engine: number;
  readonly knobs: number;
  readonly shards: number;
  /** In float64s, not words. */
  readonly wide: number;
  /** By thread; in float64s, not words. */
  readonly migrations: number;
  /** A word a thread number: 0, or the last change of blocks that the thread has taken part in, and 1. */
  readonly threads: number;
  readonly blocks: number;
  readonly guests: number;
  readonly vcpus: number;
  readonly tlbs: number;
  readonly chunkOwners: number;
  readonly ptes: number;
  readonly items: number;
  readonly mergeable: number;
  readonly pending: number;
  readonly hot: number;
  readonly visit: number;
  readonly moved: number;
  readonly stable: number;
  readonly words: number;
}

function alignUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

export function controlLayout(sizes: Sizes): ControlLayout {
  let next = 0;
  const region = (words: number): number => {
    const at = next;
    next = alignUp(next + words, LINE_WORDS);
    return at;
  };
  const bitmap = Math.ceil(sizes.slots / 32);
  return {
    engine: region(ENGINE_WORDS),
    knobs: region(KNOB_WORDS),
    shards: region(sizes.shards * SHARD_WORDS),
    wide: region(sizes.shards * WIDE_COUNTERS * 2) / 2,
    migrations: region(sizes.threads * MIGRATION_COUNTERS * 2) / 2,
    threads: region(sizes.threads),
    blocks: region(sizes.blocks * BLOCK_WORDS),
    guests: region(sizes.guests * GUEST_WORDS),
    vcpus: region(sizes.vcpus * VCPU_WORDS),
    tlbs: region(sizes.vcpus * TLB_WORDS),
    chunkOwners: region(Math.ceil(sizes.slots / CHUNK_SLOTS)),
    ptes: region(sizes.slots),
    items: region(sizes.slots * ITEM_WORDS),
    mergeable: region(bitmap),
    pending: region(bitmap),
    hot: region(bitmap),
    visit: region(bitmap),
    moved: region(bitmap),
    stable: region(sizes.stableNodes * STABLE_WORDS),
    words: alignUp(next, WASM_PAGE_SIZE / 4),
  };
}

/** Scratch that each thread has in each block, for the arguments of batched kernels. */
export const SCRATCH_BYTES = 4096;

/** Where things lie in a block: word indexes, but for `scratch` and `frames`, which are bytes. */
export interface BlockLayout {
  readonly frames: number;
  readonly hot: number;
  readonly cold: number;
  readonly freeBitmap: number;
  readonly freeWords: number;
  /** As the free bitmap, for frames that are out of use. */
  readonly isolated: number;
  /** The BLOCK_ words. */
  readonly line: number;
  readonly scratchBytes: number;
  readonly framesBytes: number;
  readonly bytes: number;
}

export function blockLayout(framesPerBlockShift: number, threads: number): BlockLayout {
  const frames = 1 << framesPerBlockShift;
  const hot = 0;
  const cold = hot + frames * RECORD_WORDS;
  const freeBitmap = alignUp(cold + frames, LINE_WORDS);
  const freeWords = Math.ceil(frames / 32);
  const isolated = freeBitmap + freeWords;
  const line = alignUp(isolated + freeWords, LINE_WORDS);
  const scratchBytes = alignUp((line + LINE_WORDS) * 4, PAGE_SIZE);
  const framesBytes = scratchBytes + threads * SCRATCH_BYTES;
  const bytes = alignUp(framesBytes + frames * PAGE_SIZE, WASM_PAGE_SIZE);
  return {
    frames,
    hot,
    cold,
    freeBitmap,
    freeWords,
    isolated,
    line,
    scratchBytes,
    framesBytes,
    bytes,
  };
}
