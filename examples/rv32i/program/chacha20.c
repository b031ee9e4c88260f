/* chacha20 - the ChaCha20 key stream (RFC 8439). */
#include "chacha20.h"

static inline uint32_t rotate(uint32_t word, int count) {
  return (word << count) | (word >> (32 - count));
}

static inline void quarter_round(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d) {
  *a += *b, *d = rotate(*d ^ *a, 16);
  *c += *d, *b = rotate(*b ^ *c, 12);
  *a += *b, *d = rotate(*d ^ *a, 8);
  *c += *d, *b = rotate(*b ^ *c, 7);
}

void chacha20(uint8_t *to, uint32_t size, const uint32_t key[8]) {
  uint32_t input[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  for (int i = 0; i < 8; i++) input[4 + i] = key[i];
  for (uint32_t block = 0; size > 0; block++, size -= 64) {
    uint32_t x[16];
    input[12] = block;
    for (int i = 0; i < 16; i++) x[i] = input[i];
    for (int round = 0; round < 10; round++) {
      for (int i = 0; i < 4; i++) quarter_round(&x[i], &x[4 + i], &x[8 + i], &x[12 + i]);
      for (int i = 0; i < 4; i++) {
        quarter_round(&x[i], &x[4 + ((i + 1) & 3)], &x[8 + ((i + 2) & 3)], &x[12 + ((i + 3) & 3)]);
      }
    }
    for (int i = 0; i < 16; i++) {
      uint32_t word = x[i] + input[i];
      for (int byte = 0; byte < 4; byte++) *to++ = word >> (8 * byte);
    }
  }
}
