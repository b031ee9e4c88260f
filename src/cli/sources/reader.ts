/**
 * reader - the bytes of a source as whole pages, a chunk at a time; in the node workers.
 *
 * Files are read as they are asked for, so memory holds one chunk of them, however large they are.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { PAGE_SIZE } from "../../base/units.js";
import { BadInput, reasonOf } from "../bad-input.js";
import { CHUNK_BYTES, type Chunk } from "./chunk.js";
import type { FilesData, RereadableData, SourceFile, SynthData } from "./source.js";
import { SynthPages, wordsOf } from "./synth.js";

/** Reads the source from its beginning; throws BadInput where a file cannot be read or has become shorter. */
export function readChunks(data: RereadableData): Generator<Chunk, void> {
  return data.kind === "synth" ? synthChunks(data) : fileChunks(data);
}

function* synthChunks(data: SynthData): Generator<Chunk, void> {
  const buffer = Buffer.alloc(CHUNK_BYTES);
  const pages = new SynthPages(data);
  const end = data.pages * PAGE_SIZE;
  for (let address = 0; address < end; address += CHUNK_BYTES) {
    const bytes = buffer.subarray(0, Math.min(CHUNK_BYTES, end - address));
    pages.fill(wordsOf(bytes), address / PAGE_SIZE);
    yield { address, bytes };
  }
}

function* fileChunks(data: FilesData): Generator<Chunk, void> {
  const buffer = Buffer.alloc(CHUNK_BYTES);
  let address = 0;
  let filled = 0;
  for (const file of data.files) {
    const fd = openFile(file);
    try {
      for (let offset = 0; offset < file.bytes; ) {
        const wanted = Math.min(CHUNK_BYTES - filled, file.bytes - offset);
        const got = readPart(file, fd, buffer.subarray(filled, filled + wanted), offset);
        offset += got;
        if (got < wanted) {
          // The whole pages before its end are good.
          const whole = filled + got - ((filled + got) % PAGE_SIZE);
          yield { address, bytes: buffer.subarray(0, whole) };
          const mend = "leave it alone while it is folded";
          throw new BadInput(file.path, `ends at byte ${offset}, no longer at ${file.bytes}`, mend);
        }
        // Only the last part of a file does not end with a page.
        const end = filled + got;
        filled = Math.ceil(end / PAGE_SIZE) * PAGE_SIZE;
        buffer.fill(0, end, filled);
        if (filled === CHUNK_BYTES) {
          yield { address, bytes: buffer };
          address += CHUNK_BYTES;
          filled = 0;
        }
      }
    } finally {
      closeSync(fd);
    }
  }
  if (filled > 0) yield { address, bytes: buffer.subarray(0, filled) };
}

function openFile({ path }: SourceFile): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    throw new BadInput(path, `cannot be opened (${reasonOf(error)})`, "check the file");
  }
}

/** Reads all of `target`, or up to the end of the file; returns how much. */
function readPart({ path }: SourceFile, fd: number, target: Buffer, offset: number): number {
  let got = 0;
  try {
    while (got < target.length) {
      const count = readSync(fd, target, got, target.length - got, offset + got);
      if (count === 0) break;
      got += count;
    }
  } catch (error) {
    const wrong = `cannot be read at byte ${offset + got} (${reasonOf(error)})`;
    throw new BadInput(path, wrong, "check the file and what it lies on");
  }
  return got;
}
