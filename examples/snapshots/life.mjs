/**
 * life - the instance whose memory is kept: Conway's Life in WebAssembly (life.wat; `wat2wasm life.wat` of
 * WABT makes life.wasm of it, byte for byte).
 */
import { readFileSync } from "node:fs";

const module = new WebAssembly.Module(readFileSync(new URL("./life.wasm", import.meta.url)));

const SIDE = 512;
/** Seven cells that live for 5,206 generations. */
const ACORN = [".O.....", "...O...", "OO..OOO"];
const BLOCK = ["OO", "OO"];

/** An instance with an empty board: `memory`, `step()`, `board(generation)`. */
export function createLife() {
  return new WebAssembly.Instance(module).exports;
}

/** An acorn in the middle, and still lifes all over the board. */
export function plant({ memory, board }) {
  const cells = new Uint8Array(memory.buffer, board(0), SIDE * SIDE);
  place(cells, ACORN, SIDE / 2, SIDE / 2);
  for (let i = 0; i < SIDE / 8; i++) place(cells, BLOCK, (i * 88) % 240, i * 8 + 3);
}

function place(cells, pattern, x, y) {
  pattern.forEach((row, dy) => {
    [...row].forEach((cell, dx) => {
      cells[(y + dy) * SIDE + x + dx] = cell === "O" ? 1 : 0;
    });
  });
}
