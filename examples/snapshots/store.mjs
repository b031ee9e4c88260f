/**
 * store - named snapshots of WebAssembly memories, or of any bytes. However many there are, the memory in use
 * stays near that of their distinct pages: each snapshot is a guest, and equal pages of all guests are merged.
 *
 * Memory alone is kept: globals, tables and the stack of an instance are not in its memory.
 * A `put` needs a frame for each page that is not all zeros, until it resolves. Await one before the next.
 */
import { createEngine, PAGE_SIZE } from "pagefold";

const ZEROS = new Uint8Array(PAGE_SIZE);
const EMPTY = ZEROS.subarray(0, 0);
/** Pages that `delete` clears at a time. A merged page needs a frame to be cleared, so these are held back. */
const CLEARED_AT_ONCE = 64;

/** What the caller can mend; `code` is EXISTS, NOT_FOUND, FULL, BAD_SOURCE or BAD_TARGET. */
export class SnapshotError extends Error {
  constructor(code, message) {
    super(message);
    this.name = "SnapshotError";
    this.code = code;
  }
}

export class SnapshotStore {
  #engine;
  /** By name: the guest, and how many of its bytes are the snapshot's. */
  #snapshots = new Map();
  /** Guests of deleted snapshots, cleared. */
  #spare = [];
  #clearing = Promise.resolve();

  /**
   * @param {object} [options]
   * @param {number} [options.memoryBytes] memory for distinct pages; 256 KiB of it are held back for `delete`
   * @param {number} [options.snapshotBytes] all snapshots together, as if nothing was merged
   * @param {number} [options.maxSnapshots]
   */
  static async open({
    memoryBytes = 64 * 2 ** 20,
    snapshotBytes = 32 * memoryBytes,
    maxSnapshots = 1024,
  } = {}) {
    const engine = await createEngine({
      memoryPerNode: memoryBytes,
      maxGuestBytes: snapshotBytes,
      maxGuests: maxSnapshots,
      // ksmd scans when it is asked to, and sleeps otherwise.
      ksm: { run: 1, pagesToScan: 0 },
    });
    return new SnapshotStore(engine);
  }

  constructor(engine) {
    this.#engine = engine;
  }

  get names() {
    return [...this.#snapshots.keys()];
  }

  /** Keeps the bytes as they are at the call; resolves when they have been folded. */
  async put(name, source) {
    if (this.#snapshots.has(name)) {
      throw new SnapshotError("EXISTS", `there is a snapshot ${name}; delete it first`);
    }
    const bytes = bytesOf(source);
    const page = (address) => bytes.subarray(address, address + PAGE_SIZE);
    // Pages of a guest read as zeros until they are written: zeros cost nothing if left out.
    const written = pagesOf(bytes.length).filter((address) => !isZero(page(address)));
    this.#checkRoom(written.length);
    const guest = this.#takeGuest(bytes.length);
    for (const address of written) guest.write(address, page(address));
    this.#snapshots.set(name, { guest, length: bytes.length });
    await this.#fold();
    return { name, bytes: bytes.length, pagesWritten: written.length };
  }

  /** The bytes of a snapshot. */
  get(name) {
    const { guest, length } = this.#find(name);
    return guest.read(0, length);
  }

  /** Writes a snapshot into the memory of an instance, which grows if it must. */
  restore(name, memory) {
    const { guest, length } = this.#find(name);
    const missing = length - memory.buffer.byteLength;
    if (missing < 0) {
      throw new SnapshotError(
        "BAD_TARGET",
        `the memory has ${-missing} bytes more than the snapshot ${name}, and cannot shrink; ` +
          "restore into a new instance",
      );
    }
    if (missing > 0) memory.grow(Math.ceil(missing / 65536));
    guest.read(0, new Uint8Array(memory.buffer, 0, length));
  }

  /** Where two snapshots differ: ranges of whole pages, the last cut off at the end of the longer one. */
  diff(first, second) {
    const a = this.#find(first);
    const b = this.#find(second);
    const end = Math.max(a.length, b.length);
    const ranges = [];
    for (const address of pagesOf(end)) {
      if (Buffer.compare(pageAt(a, address), pageAt(b, address)) === 0) continue;
      const length = Math.min(PAGE_SIZE, end - address);
      const last = ranges.at(-1);
      if (last !== undefined && last.address + last.length === address) last.length += length;
      else ranges.push({ address, length });
    }
    return ranges;
  }

  /**
   * Forgets a snapshot and gives its frames back. Its guest cannot be destroyed: it is cleared, which leaves a
   * frame of zeros for every 256 pages (max_page_sharing), and taken again for a snapshot that fits in.
   */
  delete(name) {
    const { guest } = this.#find(name);
    this.#snapshots.delete(name);
    const cleared = this.#clearing.then(() => this.#clear(guest));
    // One after the other, whether or not the one before succeeded.
    this.#clearing = cleared.catch(() => {});
    return cleared;
  }

  /** Bytes of all snapshots, and bytes of the frames that hold them. */
  stats() {
    const snapshots = [...this.#snapshots.values()];
    const snapshotBytes = snapshots.reduce((sum, { length }) => sum + length, 0);
    const frameBytes = this.#engine.stats().frames.used * PAGE_SIZE;
    return { snapshots: snapshots.length, snapshotBytes, frameBytes };
  }

  /** The store owes its engine this. */
  close() {
    return this.#engine.close();
  }

  #find(name) {
    const snapshot = this.#snapshots.get(name);
    if (snapshot !== undefined) return snapshot;
    const names = this.names.join(", ") || "none";
    throw new SnapshotError("NOT_FOUND", `there is no snapshot ${name}; there are: ${names}`);
  }

  #checkRoom(pages) {
    const free = this.#engine.stats().frames.free - CLEARED_AT_ONCE;
    if (pages <= free) return;
    throw new SnapshotError(
      "FULL",
      `${pages} frames are needed and ${Math.max(0, free)} are free; ` +
        "delete snapshots, or open the store with more memoryBytes",
    );
  }

  /** The smallest spare guest that has so many bytes, or a new one. */
  #takeGuest(bytes) {
    const fitting = this.#spare
      .filter((guest) => guest.bytes >= bytes)
      .sort((a, b) => a.bytes - b.bytes);
    if (fitting.length === 0) return this.#engine.createGuest({ bytes: Math.max(1, bytes) });
    this.#spare.splice(this.#spare.indexOf(fitting[0]), 1);
    return fitting[0];
  }

  async #clear(guest) {
    let written = 0;
    for (const address of pagesOf(guest.bytes)) {
      if (isZero(guest.read(address, PAGE_SIZE))) continue;
      guest.fill(address, PAGE_SIZE, 0);
      written++;
      if (written % CLEARED_AT_ONCE === 0) await this.#fold();
    }
    await this.#fold();
    this.#spare.push(guest);
  }

  /** A page is seen in the first pass and merged in the second; then its old frame is free. */
  async #fold() {
    await this.#engine.ksm.scan(2);
  }
}

function bytesOf(source) {
  if (source instanceof Uint8Array) return source;
  if (source instanceof WebAssembly.Memory) return new Uint8Array(source.buffer);
  throw new SnapshotError("BAD_SOURCE", "a snapshot is made of a WebAssembly.Memory or Uint8Array");
}

/** The address of each page of so many bytes. */
function pagesOf(length) {
  return Array.from({ length: Math.ceil(length / PAGE_SIZE) }, (_, page) => page * PAGE_SIZE);
}

/** What a snapshot has of the page at `address`: less at its end, nothing beyond. */
function pageAt({ guest, length }, address) {
  return address < length ? guest.read(address, Math.min(PAGE_SIZE, length - address)) : EMPTY;
}

function isZero(page) {
  return Buffer.compare(page, ZEROS.subarray(0, page.length)) === 0;
}
