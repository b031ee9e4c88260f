#!/bin/sh
# Builds program.elf, or the file named by the first argument, with clang and lld.
# With the versions of Debian 12 (14.0.6) the result is the committed file, byte for byte.
set -eu
cd "$(dirname "$0")"
clang --target=riscv32-unknown-elf -march=rv32i -mabi=ilp32 -std=c11 -Os -Wall -Wextra -Werror \
  -ffreestanding -fno-builtin -fno-ident -nostdlib -static -fuse-ld=lld \
  -Wl,--image-base=0x10000 -Wl,--no-rosegment -Wl,--strip-all -Wl,--build-id=none \
  -o "${1:-program.elf}" main.c chacha20.c runtime.c sha256.c
