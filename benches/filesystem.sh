#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints which file system a directory is on, and of ext4 whether it has a journal: times depend on both.
#
# usage: benches/filesystem.sh DIR
set -euo pipefail
read -r type source < <(findmnt --noheadings --output FSTYPE,SOURCE --target "$1")
journal=
if [ "$type" = ext4 ]; then
    device=$(basename "$(realpath "$source")")
    journal=', no journal'
    if compgen -G "/proc/fs/jbd2/$device-*" >/dev/null; then journal=', with a journal'; fi
fi
echo "file system: $type$journal"
