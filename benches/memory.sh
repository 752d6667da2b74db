#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The most memory that each job takes on an image of very many small files, beside the packaged umoci.
#
# usage: benches/memory.sh [FILES ...]     250,000 and 1,000,000 unless told
#
# On Debian 12 as root. In MiB, with wall seconds. The trees are written to memory (tmpfs): a million files take 5 GB.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sizes=("${@:-250000}")
(($#)) || sizes+=(1000000)

tests/support/install.sh gcc libc6-dev umoci python3 time
cargo build --release --quiet
ours=$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci
peer=/usr/bin/umoci
work=$(mktemp -d)
mount -t tmpfs -o size=14g,nr_inodes=0 tmpfs "$work"
trap 'cd /; umount "$work"; rmdir "$work"' EXIT
benches/filesystem.sh "$work"
cd "$work"

layer() { # COUNT: a tar of files of 10 bytes, a hundred to a directory
    python3 - "$1" <<'PYTHON'
import io, sys, tarfile
with tarfile.open("layer.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
    def add(name, kind, mode, content):
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime, entry.size = kind, mode, 1600000000, len(content)
        tar.addfile(entry, io.BytesIO(content))
        tar.members = []
    for n in range(int(sys.argv[1])):
        directory = "usr/share/lib/dir-%d" % (n // 100)
        if n % 100 == 0:
            add(directory, tarfile.DIRTYPE, 0o755, b"")
        add("%s/some-module-file-%d.js" % (directory, n), tarfile.REGTYPE, 0o644, b"%010d" % n)
PYTHON
}

measure() { # PROGRAM ARGUMENTS: memory and time, or a dash where it fails
    command time -f '%M %e' -o measured "$@" >/dev/null 2>&1 || { echo '- -' && return; }
    awk '{ printf "%d %.1f\n", $1 / 1024, $2 }' measured
}

job() { # LABEL ARGUMENTS
    local label=$1 our their
    shift
    our=$(measure "$ours" "${@/BUNDLE/ours}")
    their=$(measure "$peer" "${@/BUNDLE/peer}")
    # shellcheck disable=SC2086 # two words each
    printf '%-34s%8s%8s%10s%8s\n' "$label" $our $their
}

changes() { # SCRIPT, in either tree
    for bundle in ours peer; do (cd "$bundle/rootfs/usr/share/lib" && eval "$1"); done
}

for count in "${sizes[@]}"; do
    printf '%-34s%8s%8s%10s%8s\n' "$count files" MiB s umoci s
    layer "$count"
    "$ours" init --layout image
    "$ours" new --image image:a
    "$ours" raw add-layer --image image:a layer.tar
    rm layer.tar
    job unpack unpack --image image:a BUNDLE
    # The clock goes on, and what was written is old enough to be trusted.
    sleep 1.1
    job 'repack, nothing changed' repack --image image:b BUNDLE
    changes 'echo more >>dir-7/some-module-file-700.js'
    job 'repack, one file, and refresh' repack --refresh-bundle --image image:c BUNDLE
    rm ours/.sha256_*.stat
    job 'repack, nothing changed, no cache' repack --image image:d BUNDLE
    changes 'chown -R 5:5 .'
    job 'repack, all changed' repack --image image:e BUNDLE
    rm -rf image ours peer
    echo
done
