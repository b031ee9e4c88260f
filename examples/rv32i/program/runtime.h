/* runtime - what the program has instead of a C library. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* From the host's input into `buffer`; 0 at its end. */
int read_input(void *buffer, size_t size);
void write_output(const void *bytes, size_t size);
_Noreturn void exit_with(int status);

void *memcpy(void *to, const void *from, size_t size);
void *memset(void *to, int byte, size_t size);

/* Both append to `line` and return its new end. */
char *put_text(char *line, const char *text);
char *put_number(char *line, uint32_t number);
char *put_hex(char *line, const uint8_t *bytes, size_t size);
