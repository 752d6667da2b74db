#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What an unpack cannot go below, and what it does: the same bytes through programs that do one thing, the CPU time
# of ours by thread, and its system calls for each file.
#
# usage: benches/limits.sh [small|full]
#
# On Debian 12 as root. Median of three runs, in seconds of CPU; the trees are written to memory (tmpfs).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
size=${1:-full}

tests/support/install.sh gcc libc6-dev umoci mmdebstrap jq isal pigz libdeflate-tools strace linux-perf time
cargo build --release --quiet
umoci=$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci
work=$(mktemp -d)
mount -t tmpfs -o size=6g tmpfs "$work"
trap 'cd /; umount "$work"; rmdir "$work"' EXIT
benches/filesystem.sh "$work"
tests/support/make-debian-image.sh "$work/image" "$size" >/dev/null 2>&1
cd "$work"
blob() { echo "image/blobs/${1/://}"; }
manifest=$(blob "$(jq -r '.manifests[0].digest' image/index.json)")
layers=()
for digest in $(jq -r '.layers[].digest' "$manifest"); do layers+=("$(blob "$digest")"); done

cpu() { # LABEL SCRIPT, which finds the layers as its arguments
    for _ in 1 2 3; do
        command time -f '%U %S' -o time bash -c "$2" bash "${layers[@]}" >/dev/null 2>&1
        awk '{ print $1 + $2 }' time
    done | sort -n | sed -n 2p | xargs printf '%-42s%8s\n' "$1"
}

printf '%-42s%8s\n' 'the layers, in seconds of CPU' ''
for program in 'gzip -dc' 'pigz -p 1 -dc' 'igzip -dc' 'libdeflate-gunzip -c'; do
    cpu "inflate: $program" "for l; do $program \$l >/dev/null; done"
done
for layer in "${layers[@]}"; do igzip -dc "$layer" >"$layer.tar"; done
cpu 'hash the tars: sha256sum' 'for l; do sha256sum $l.tar; done'
cpu 'hash the tars: openssl' 'for l; do openssl dgst -sha256 $l.tar; done'
cpu 'write the tree: tar -xf, not compressed' 'rm -rf tree; mkdir tree; for l; do tar -xf $l.tar -C tree; done'
cpu 'copy the tree: cp -a' 'rm -rf copy; cp -a tree copy'
rm -rf copy tree image/blobs/sha256/*.tar
cpu 'all of an unpack by ours' "rm -rf bundle; $umoci unpack --image image:debian bundle"

rm -rf bundle
perf record -q -F 999 -o perf.data "$umoci" unpack --image image:debian bundle >/dev/null 2>&1 || true
echo
echo 'of which, in percent by thread and function'
perf report -i perf.data --no-children --sort comm,symbol --stdio -g none 2>/dev/null |
    sed -n 's/ *- *- *$//; /^ *[0-9]/p' | sed -n '1,14p'
rm -rf bundle
strace -f -c -o calls "$umoci" unpack --image image:debian bundle >/dev/null 2>&1
files=$(find bundle/rootfs -type f | wc -l)
all=$(find bundle/rootfs | wc -l)
echo
echo "system calls of an unpack of $all paths, $files of them files"
awk 'NR > 2 && $4 ~ /^[0-9]+$/ && $4 > 500 { printf "%-12s%8d\n", $NF, $4 }' calls | sort -k2,2nr | grep -v -E 'total|futex|sched_yield'
strace -f -c -o calls "$umoci" repack --image image:same bundle >/dev/null 2>&1
echo
echo 'system calls of a repack of nothing'
awk 'NR > 2 && $4 ~ /^[0-9]+$/ && $4 > 500 { printf "%-12s%8d\n", $NF, $4 }' calls | sort -k2,2nr | grep -v -E 'total|futex|sched_yield'
