#!/bin/sh
# Builds inn for aarch64: that it compiles and links is all that is asked.
set -eu
cd "$(dirname "$0")/.."

triple=aarch64-unknown-linux-gnu
if ! rustup target list --installed 2>/dev/null | grep -qx "$triple"; then
    RUSTC=$(python3 images/debian.py aarch64)/rustc
    export RUSTC
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
# A directory of its own: another compiler must not make the main one's output stale.
cargo build --release --quiet --target "$triple" --target-dir target/aarch64-build
echo "aarch64: $(wc -c <"target/aarch64-build/$triple/release/inn") bytes"
