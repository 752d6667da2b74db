#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times pulls and pushes of ours beside the packaged skopeo on Debian's docker-registry over loopback, and counts requests.
#
# usage: [ROUNDS=5] benches/registry.sh [small]
#
# On Debian 12 as root. Two inputs: one image of 11 blobs and 155 MB, and 1,000 images of one small layer each, of which 10
# change. For each job and program: median wall time, CPU seconds, peak memory, requests (from the access log), MB sent and
# received by the registry. Then 64 clients at once that pull the image through an empty `umoci serve --upstream`, and through
# docker-registry's proxy mode: requests and MB at the origin. With `small` all is small: a trial of the script.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/support/install.sh gcc libc6-dev skopeo docker-registry python3
cargo build --release --quiet
work=$(mktemp -d -p "${BENCH_DIR:-/dev/shm}")
trap 'rm -rf "$work"' EXIT
benches/filesystem.sh "$work"
python3 benches/registry.py "${ROUNDS:-5}" "${1:-full}" "$work" "$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci"
