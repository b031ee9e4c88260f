/**
 * answers - what the guests must say, computed in another way: a sieve in JavaScript, SHA-256 and ChaCha20
 * by node:crypto.
 */
import { createCipheriv, createHash } from "node:crypto";

const LIMIT = 2 ** 17;
const STREAM_BYTES = 8 * 1024;

const primes = primesBelow(LIMIT);

/** What a guest says when it has booted from this image. */
export function expectedGreeting(image) {
  return `${primes.length} primes, image ${sha256(image)}\n`;
}

/** What it answers to the question `n`. */
export function expectedAnswer(n) {
  const prime = primes[n - 1];
  const key = Buffer.from(new Uint32Array(8).fill(prime).buffer);
  const cipher = createCipheriv("chacha20", key, Buffer.alloc(16));
  const stream = cipher.update(Buffer.alloc(STREAM_BYTES));
  return `prime ${n} is ${prime}, stream ${sha256(stream)}\n`;
}

function primesBelow(limit) {
  const found = [];
  const composite = new Uint8Array(limit);
  for (let number = 2; number < limit; number++) {
    if (composite[number] === 1) continue;
    found.push(number);
    for (let multiple = number ** 2; multiple < limit; multiple += number) composite[multiple] = 1;
  }
  return found;
}

function sha256(bytes) {
  return createHash("sha256").update(bytes).digest("hex");
}
