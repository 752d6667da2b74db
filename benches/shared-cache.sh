#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Lets many builders share results by `cache put` and `cache get` on `umoci serve`, while a collector removes entries.
#
# usage: benches/shared-cache.sh [BUILDERS=1000] [KEYS=10000]
#
# Each builder has a layout of its own, and asks for its keys; what is not there it makes and stores. Each key is asked for by two
# builders. `umoci gc --max-size` runs once a second on the shared layout. Prints hits, misses, wrong results (there must be
# none, and each is a failure of the script), commands a second, and the requests and bytes that the server answered.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tests/support/install.sh gcc libc6-dev python3
cargo build --release --quiet
work=$(mktemp -d -p "${BENCH_DIR:-/dev/shm}")
trap 'rm -rf "$work"' EXIT
benches/filesystem.sh "$work"
python3 benches/shared_cache.py "${1:-1000}" "${2:-10000}" "$work" "$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci"
