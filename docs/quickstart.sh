#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what is needed, builds umoci, and does the whole main job on a real Debian image, saying what it does.
#
# usage: docs/quickstart.sh [--keep DIR]
#
# For a Debian 12 machine with a Rust tool chain, as root. --keep leaves all files in DIR, which must not exist.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ "${1:-}" = --keep ]; then
    work=${2:?usage: docs/quickstart.sh [--keep DIR]}
    mkdir "$work"
    work=$(cd "$work" && pwd)
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
fi

say() { printf '\n# %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*"
    "$@"
}

say "Install a C compiler for one library, and the tools that make the image and look at the result."
missing=()
for package in gcc libc6-dev umoci mmdebstrap jq skopeo runc; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    run apt-get update -q </dev/null
    run apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
fi

say "Build umoci."
run cargo build --release
program=$(realpath "${CARGO_TARGET_DIR:-target}")/release/umoci
PATH=$(dirname "$program"):$PATH

say "Make a real Debian image with Debian's own, older umoci. This takes about half a minute the first time."
run tests/support/make-debian-image.sh "$work/debian" small
cd "$work"

say "Make an empty store, and copy the image into it. Every digest is verified."
run umoci init --layout store
run umoci import debian:debian --layout store

say "See what is in it."
run umoci ref list --layout store

say "Give a second name to the image by its digest alone. The media type is found by itself."
digest=$(umoci ref list --layout store --json | jq -r '.[0].digest')
run umoci ref create --layout store by-digest --digest "$digest"

say "Look at the image: its layers, configuration and history. No layer is read for it."
run umoci stat --image store:by-digest

say "Unpack it to a bundle: a root file system and a configuration for runc and crun."
run umoci unpack --image store:by-digest bundle

say "Change the root file system: a new file, a changed one, a removed directory."
run sh -c 'echo "hello from umoci" >bundle/rootfs/etc/hello; echo umoci >bundle/rootfs/etc/hostname; rm -r bundle/rootfs/usr/share/man'

say "Repack: what changed becomes a new layer, and the new image gets a name."
run umoci repack --image store:changed bundle

say "Remove the old names, and collect the garbage. The layers that both images share stay."
run umoci ref remove --layout store debian
run umoci ref remove --layout store by-digest
run umoci gc --layout store

say "The store is an ordinary OCI layout: skopeo reads it."
run sh -c 'skopeo inspect oci:store:changed | jq "{Digest, Layers, Env}"'

say "Unpack the new image, and run a command in it."
run umoci unpack --image store:changed final
run sh -c "jq '.process.terminal = false | .process.args = [\"cat\", \"/etc/hello\"]' final/config.json >final/config.new && mv final/config.new final/config.json"
if ! run runc run --bundle final "umoci-quickstart-$$"; then
    say "runc could not start a container on this machine; chroot shows the same file."
    run chroot final/rootfs cat /etc/hello
fi

say "Done. The program is in $program; cargo install --locked --path . puts it in ~/.cargo/bin. README.md has a tour."
