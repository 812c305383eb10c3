#!/bin/sh
# Builds the C guests into the directory that is given; without one, into the files that the repository keeps.
# Needs, from Debian: clang lld wasi-libc libclang-rt-dev-wasm32
set -eu
cd "$(dirname "$0")"
out=${1:-.}
flags="-std=c99 -Wall -Wextra -Werror -pedantic -O2 -I../../guest-sdk/c -Wl,--strip-debug"

clang --target=wasm32 -nostdlib -Wl,--no-entry $flags types.c -o "$out/types.wasm"
clang --target=wasm32-wasi -mexec-model=reactor $flags text.c -o "$out/text.wasm"
