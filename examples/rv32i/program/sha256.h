#pragma once
#include <stdint.h>

enum { SHA256_BYTES = 32 };

void sha256(uint8_t digest[SHA256_BYTES], const uint8_t *bytes, uint32_t size);
