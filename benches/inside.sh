#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the commands that look into images beside the way that people go without them, and prints tables.
#
# usage: [ROUNDS=15] benches/inside.sh [small]
#
# On Debian 12 as root. Two images: the real Debian one, and one of 45,000 small files in three layers; and a layout of 1,000
# layers. For each question: median wall time, CPU seconds and peak memory of ours, with the tables there, and of the other way:
# tar -tzf of the layers, skopeo and jq, or the packaged umoci that unpacks and find, diff or cat. Then unpacks with and without
# tables, in turns, with the median of the ratios; sizes of the tables; and the first and the second unpack of one large layer.
# With `small` all is small: a trial of the script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/support/install.sh gcc libc6-dev umoci skopeo mmdebstrap jq python3
cargo build --release --quiet
work=$(mktemp -d -p "${BENCH_DIR:-/dev/shm}")
trap 'rm -rf "$work"' EXIT
benches/filesystem.sh "$work"
size=${1:-full}
tests/support/make-debian-image.sh "$work/debian" "$size" >/dev/null 2>&1
python3 -B benches/inside.py "${ROUNDS:-15}" "$size" "$work" "$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci"
