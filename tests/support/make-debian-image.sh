#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes a real Debian image, as an OCI image layout, from Debian's own packages.
#
# usage: make-debian-image.sh DIR [small|full]
#
# The image is DIR:debian. small (the default) has two layers, about 60 MB compressed: a minimal Debian, then one with
# files changed and removed. full has three, about 260 MB and 20,000 files: a tool chain lies between them.
#
# The packaged umoci makes it, so that what our program reads was written by another one. Needs root and the Debian
# packages mmdebstrap, umoci and jq. The trees that mmdebstrap makes are kept in $DEBIAN_CACHE (default:
# target/debian-image of this checkout) for the next run.
set -euo pipefail

dir=${1:?usage: make-debian-image.sh DIR [small|full]}
size=${2:-small}
peer=${UMOCI_PEER:-/usr/bin/umoci}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${DEBIAN_CACHE:-$here/target/debian-image}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ref=$dir:debian
rootfs=$work/bundle/rootfs
mkdir -p "$cache"

add_layer() { # NAME [PACKAGES]
    local tar=$cache/$1.tar
    if [ ! -f "$tar" ]; then
        mmdebstrap --quiet --variant=minbase ${2:+--include="$2"} bookworm "$work/$1.tar"
        mv "$work/$1.tar" "$tar"
    fi
    tar -C "$rootfs" --numeric-owner --exclude='./dev/*' -xf "$tar"
    "$peer" repack --refresh-bundle --image "$ref" --history.created_by "debian $1" "$work/bundle"
}

"$peer" init --layout "$dir"
"$peer" new --image "$ref"
"$peer" unpack --image "$ref" "$work/bundle"
add_layer base
[ "$size" = small ] || add_layer tools build-essential,git,curl,python3,python3-numpy,nodejs

rm -rf "$rootfs/usr/share/doc" "$rootfs/etc/motd"
echo changed >"$rootfs/etc/issue"
ln -f "$rootfs/etc/issue" "$rootfs/etc/issue.hardlink"
"$peer" repack --refresh-bundle --image "$ref" --history.created_by "change and remove files" "$work/bundle"
"$peer" config --image "$ref" --config.cmd /bin/bash --config.env LANG=C.UTF-8 \
    --config.label org.example.kind=debian --config.workingdir /root --config.user root:root
"$peer" gc --layout "$dir"
