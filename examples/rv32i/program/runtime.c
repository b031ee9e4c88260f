/*
 * runtime - start, system calls, and the few functions of a C library that the program needs.
 *
 * The system calls have Linux's numbers for RISC-V, so that the same file runs under qemu-riscv32.
 */
#include "runtime.h"

enum { SYS_READ = 63, SYS_WRITE = 64, SYS_EXIT = 93 };

int main(void);

/* Used by _start alone; its top is 16-byte aligned, as the ABI wants sp. */
__attribute__((used, aligned(16))) static uint8_t stack[16 * 1024];

__attribute__((naked, used)) void _start(void) {
  __asm__(
      "la sp, stack\n"
      "lui t0, 4\n" /* 4 << 12: the size of the stack */
      "add sp, sp, t0\n"
      "call main\n"
      "li a7, 93\n"
      "ecall\n");
}

static int system_call(int number, int first, const void *second, size_t third) {
  register int a0 __asm__("a0") = first;
  register const void *a1 __asm__("a1") = second;
  register size_t a2 __asm__("a2") = third;
  register int a7 __asm__("a7") = number;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a7) : "memory");
  return a0;
}

int read_input(void *buffer, size_t size) { return system_call(SYS_READ, 0, buffer, size); }

void write_output(const void *bytes, size_t size) { system_call(SYS_WRITE, 1, bytes, size); }

_Noreturn void exit_with(int status) {
  system_call(SYS_EXIT, status, 0, 0);
  for (;;) {
  }
}

/* RV32I has no multiplication: the compiler calls this. */
uint32_t __mulsi3(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (; a != 0; a >>= 1, b <<= 1) product += b & -(a & 1);
  return product;
}

void *memcpy(void *to, const void *from, size_t size) {
  uint8_t *target = to;
  const uint8_t *source = from;
  while (size-- > 0) *target++ = *source++;
  return to;
}

/* Whole words between the odd bytes at both ends. */
void *memset(void *to, int byte, size_t size) {
  uint8_t *target = to;
  uint32_t word = (uint8_t)byte;
  word |= word << 8;
  word |= word << 16;
  for (; size > 0 && ((uintptr_t)target & 3) != 0; size--) *target++ = byte;
  for (; size >= 4; size -= 4, target += 4) *(uint32_t *)target = word;
  while (size-- > 0) *target++ = byte;
  return to;
}

char *put_text(char *line, const char *text) {
  while (*text != 0) *line++ = *text++;
  return line;
}

/* Nor has it division: digits by subtraction. */
char *put_number(char *line, uint32_t number) {
  static const uint32_t POWERS[] = {1000000000, 100000000, 10000000, 1000000, 100000,
                                    10000,      1000,      100,      10,      1};
  char *const first = line;
  for (int i = 0; i < 10; i++) {
    char digit = '0';
    for (; number >= POWERS[i]; number -= POWERS[i]) digit++;
    if (digit != '0' || line != first || i == 9) *line++ = digit;
  }
  return line;
}

char *put_hex(char *line, const uint8_t *bytes, size_t size) {
  for (size_t i = 0; i < size; i++) {
    *line++ = "0123456789abcdef"[bytes[i] >> 4];
    *line++ = "0123456789abcdef"[bytes[i] & 15];
  }
  return line;
}
