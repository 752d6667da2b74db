#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the main jobs of ours and of the packaged tools side by side, in turns, and prints a table.
#
# usage: benches/side-by-side.sh [ROUNDS] [small|full]
#
# On Debian 12 as root. Three images: a real Debian one (gzip, and the same as zstd), one of 100,000 small files, one of
# four files of 500 MB. For each job and program: median and least wall time, CPU seconds, peak memory, bytes written,
# and the median of the ratios to the packaged umoci within each round. tar of the same layers in order is the floor of
# a serial extraction, without verification and without a manifest.
#
# The trees are written to memory (tmpfs) where that has room, since it is the programs that are compared and not the
# disk; BENCH_DIR names another place. With `small` all images are small: a trial of the script.
# UMOCI_PEER names an older build of ours in place of the packaged umoci. It runs twice in each round, so that the spread
# of a build with itself stands beside its ratio to ours; tar and buildah are left out.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-5}
size=${2:-full}

tests/support/install.sh gcc libc6-dev umoci skopeo buildah mmdebstrap jq python3 zstd
cargo build --release --quiet
# Lower case: buildah takes a path for the name of an image.
work=${BENCH_DIR:-${TMPDIR:-/tmp}}/umoci-bench.$$
mkdir -m 700 "$work"
mounted=
cleanup() {
    [ -z "$mounted" ] || umount "$work"
    rm -rf "$work"
}
trap cleanup EXIT
available=$(awk '/MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
if [ -z "${BENCH_DIR:-}" ] && [ "$available" -ge 16 ]; then
    mount -t tmpfs -o "size=$((available - 4))g" tmpfs "$work" && mounted=1
fi
benches/filesystem.sh "$work"
tests/support/make-debian-image.sh "$work/debian" "$size" >/dev/null 2>&1
python3 -B benches/side_by_side.py "$rounds" "$size" "$work" "$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci"
