#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times the main jobs of ours and of the packaged umoci side by side, in turns, and prints a table.
#
# usage: benches/side-by-side.sh [ROUNDS] [small|full]
#
# On Debian 12 as root. Medians and minima of wall time, CPU seconds and peak memory; tar -xzf of the same layers is the
# floor of a serial extraction, without verification and without a manifest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rounds=${1:-5}
size=${2:-full}

missing=()
for package in gcc libc6-dev umoci mmdebstrap jq python3; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q </dev/null
    apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
fi
cargo build --release --quiet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tests/support/make-debian-image.sh "$work/image" "$size" >/dev/null 2>&1
exec python3 benches/side_by_side.py "$rounds" "$work" "$PWD/target/release/umoci"
