/*
 * main - what every guest runs: prepares tables that are alike in all of them, then answers questions,
 * with results that are not.
 *
 *   boot      a sieve of the odd numbers below 2^17; a cleared arena; SHA-256 of its own image
 *   question  a line with a decimal number n
 *   answer    the n-th prime, and SHA-256 of a ChaCha20 key stream under it, which stays in the arena
 */
#include "chacha20.h"
#include "runtime.h"
#include "sha256.h"

enum { LIMIT = 1 << 17, STREAM = 8 * 1024, ARENA = 256 * 1024 };

/* Where the linker put code and constants. */
extern const uint8_t __executable_start[];
extern const uint8_t etext[];

/* composite[i]: is 2 i + 1 composite (or 1)? */
__attribute__((aligned(4096))) static uint8_t composite[LIMIT / 2];
__attribute__((aligned(4096))) static uint8_t arena[ARENA];

static void sieve(void) {
  memset(composite, 0, sizeof composite);
  composite[0] = 1;
  for (uint32_t odd = 3; odd * odd < LIMIT; odd += 2) {
    if (composite[odd >> 1]) continue;
    for (uint32_t i = odd * odd >> 1; i < LIMIT / 2; i += odd) composite[i] = 1;
  }
}

static uint32_t count_primes(void) {
  uint32_t primes = 1; /* 2, the only even one */
  for (uint32_t i = 0; i < LIMIT / 2; i++) primes += composite[i] ^ 1;
  return primes;
}

/* The n-th prime, from 1 on; 0 if it is beyond the sieve. */
static uint32_t prime(uint32_t n) {
  if (n == 1) return 2;
  uint32_t found = 1;
  for (uint32_t i = 0; i < LIMIT / 2; i++) {
    found += composite[i] ^ 1;
    if (found == n) return 2 * i + 1;
  }
  return 0;
}

static char *put_sha256(char *line, const uint8_t *bytes, uint32_t size) {
  uint8_t digest[SHA256_BYTES];
  sha256(digest, bytes, size);
  return put_hex(line, digest, sizeof digest);
}

static void boot(void) {
  sieve();
  memset(arena, 0, sizeof arena);
  char line[128];
  char *end = put_number(line, count_primes());
  end = put_text(end, " primes, image ");
  end = put_sha256(end, __executable_start, etext - __executable_start);
  *end++ = '\n';
  write_output(line, end - line);
}

static void answer(uint32_t n) {
  uint32_t p = prime(n);
  uint32_t key[8];
  for (int i = 0; i < 8; i++) key[i] = p;
  chacha20(arena, STREAM, key);
  char line[128];
  char *end = put_text(line, "prime ");
  end = put_number(end, n);
  end = put_text(end, " is ");
  end = put_number(end, p);
  end = put_text(end, ", stream ");
  end = put_sha256(end, arena, STREAM);
  *end++ = '\n';
  write_output(line, end - line);
}

/* Reads digits up to the end of the line. False: the input has ended. */
static int read_question(uint32_t *n) {
  char digit;
  *n = 0;
  while (read_input(&digit, 1) == 1) {
    if (digit == '\n') return 1;
    *n = *n * 10 + (digit - '0');
  }
  return 0;
}

int main(void) {
  boot();
  uint32_t n;
  while (read_question(&n)) answer(n);
  return 0;
}
