#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Times ours beside the packaged umoci and skopeo on layouts of many images, and prints tables and ratios.
#
# usage: [ROUNDS=3] benches/scale.sh [IMAGES...]
#
# On Debian 12 as root. Without arguments 1000, 10000 and 100000 images; one round above 20,000. Medians and minima of
# wall time, medians of CPU seconds, peak memory. 100,000 images take 5 GB and 900,000 inodes in TMPDIR, and a quarter
# of an hour; most of it is the packaged umoci's. What a build of ours does not have yet is n/a.
# UMOCI_PEER names another program in place of the packaged umoci, such as an older build of ours.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ $# -gt 0 ] || set -- 1000 10000 100000

tests/support/install.sh gcc libc6-dev umoci skopeo python3
cargo build --release --quiet
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
benches/filesystem.sh "$work"
python3 benches/scale.py "${ROUNDS:-3}" "$work" "$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci" "$@"
