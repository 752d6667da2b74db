#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows the attacks of tests/hostile/trees.rs to GNU tar, bsdtar and the packaged umoci, and prints what became of each.
#
# usage: tests/compat/extractors.sh
#
# As root on Debian 12. tar and bsdtar get the layers in order; they know no whiteouts. What is outside of the tree is
# looked at before and after, inodes and times of change included.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
tests/support/install.sh umoci libarchive-tools
cargo build --quiet
cargo test --quiet --no-run
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
UMOCI_CORPUS=$work cargo test --quiet --test umoci -- --include-ignored the_corpus_is_written_out >/dev/null 2>&1

state() { find "$1/outside" -printf '%P %i %m %U:%G %n %s %T@ %C@\n' | sort; }
extract() { # TOOL CASE
    cd "$2/work"
    case $1 in
    ours) "$OLDPWD/target/debug/umoci" unpack --image img b ;;
    umoci) /usr/bin/umoci unpack --image img b ;;
    tar) mkdir -p b/rootfs && for layer in ?.tar; do tar -xf "$layer" -C b/rootfs || return; done ;;
    bsdtar) mkdir -p b/rootfs && for layer in ?.tar; do bsdtar -xpf "$layer" -C b/rootfs || return; done ;;
    esac
}

echo '| attack | ours | packaged umoci | GNU tar | bsdtar |'
echo '|---|---|---|---|---|'
for case in "$work"/??; do
    line="| $(cat "$case/what") |"
    for tool in ours umoci tar bsdtar; do
        rm -rf "$case/outside" "$case/work/b"
        mkdir -p "$case/outside/dir"
        echo untouched >"$case/outside/secret"
        echo mallory:x:0:0::/:/bin/sh >"$case/outside/passwd"
        ln -s secret "$case/outside/link"
        state "$case" >"$work/before"
        result=unpacked
        (extract "$tool" "$case") >/dev/null 2>&1 </dev/null || result=refused
        state "$case" >"$work/after"
        cmp -s "$work/before" "$work/after" || result="**reached outside**, $result"
        # A failure may leave nothing behind.
        if [ "$result" = refused ] && [ -e "$case/work/b/rootfs" ]; then result='refused, left a tree'; fi
        line+=" $result |"
    done
    echo "$line"
done
