#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fuzzes one target, with the tool chain that builds umoci.
#
# usage: tests/fuzz/run.sh TARGET [SECONDS] [OPTIONS OF LIBFUZZER]
#
# New inputs are kept in target/corpus/TARGET, one that fails in artifacts/. Put the latter into regressions/TARGET once
# it is mended; `cargo test --test umoci fuzzing` then runs it ever after.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

target=${1:?usage: run.sh TARGET [SECONDS]}
seconds=${2:-60}
shift $(($# < 2 ? $# : 2))
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# A target of its own for the flags, so that build scripts are built without them.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --quiet --release --target "$host" --bin "$target"
mkdir -p "target/corpus/$target" artifacts
exec "target/$host/release/$target" "target/corpus/$target" "corpus/$target" $(ls -d "regressions/$target" 2>/dev/null) \
    -max_total_time="$seconds" -artifact_prefix=artifacts/"$target"- -timeout=20 -max_len=16384 "$@"
