#pragma once
#include <stdint.h>

/* Fills `size` bytes, a multiple of 64, with the key stream of `key` and a zero nonce, from block 0 on. */
void chacha20(uint8_t *to, uint32_t size, const uint32_t key[8]);
