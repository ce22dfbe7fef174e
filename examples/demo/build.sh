#!/bin/sh
# Builds the demo program: build.sh [OUTPUT]. The result depends on nothing but the compiler and this source.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
exec aarch64-linux-gnu-gcc -O2 -static -nostdlib -ffreestanding -fno-builtin -fno-asynchronous-unwind-tables \
    -fno-ident -fno-stack-protector -fno-pie -no-pie -march=armv8-a -mno-outline-atomics -fno-tree-vectorize \
    -Wall -Wextra -Wl,--build-id=none -Wl,-z,max-page-size=4096 -Wl,-z,noexecstack -s \
    -o "${1:-demo}" demo.c
