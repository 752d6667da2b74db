#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what the tests need, makes a real Debian image, and runs all tests.
#
# usage: tests/all.sh [ARGUMENTS FOR THE TESTS]
#
# As root on Debian 12 it installs what is missing by itself; anybody else is told what to install.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# npm may have come with a nodejs of another origin, which Debian's packages would conflict with.
browser=(chromium)
command -v npm >/dev/null || browser+=(nodejs npm)
tests/support/install.sh "${browser[@]}" gcc libc6-dev umoci libarchive-tools skopeo buildah containerd crun runc jq zstd attr acl mmdebstrap python3 strace zsh fish mandoc golang-github-opencontainers-image-spec-dev docker-registry apache2-utils openssl git ncdu pigz zopfli
if [ "$(id -u)" != 0 ]; then
    echo "tests/all.sh: the tests on a real image need root" >&2
    exit 1
fi

echo "== building the tests"
cargo test --no-run --quiet

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "== making a real Debian image"
tests/support/make-debian-image.sh "$work/image" small

echo "== running all tests"
UMOCI_TEST_IMAGE=$work/image cargo test --no-fail-fast -- --include-ignored "$@" </dev/null 2>&1 | tee "$work/log"
awk '/^test result:/ { passed += $4; failed += $6 } END { printf "%d passed, %d failed\n", passed, failed; exit failed > 0 }' "$work/log"
