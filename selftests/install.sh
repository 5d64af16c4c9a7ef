#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# install.sh DESTDIR: builds the selftests, and makes of them a folder that runs on any machine, as root.
# Cargo's own variables apply: CARGO_TARGET_DIR, CARGO_NET_OFFLINE, ...
set -eu

[ $# -eq 1 ] || { echo "usage: install.sh DESTDIR" >&2; exit 2; }
mkdir -p "$1/stablefs"
to=$(cd "$1" && pwd)
# Cargo finds .cargo/config.toml, which asks for static programs, from the directory that it runs in.
cd "$(dirname "$0")"
cargo build --release --locked
from=${CARGO_TARGET_DIR:-target}/x86_64-unknown-linux-gnu/release

# A new file beside the old one: the old one may be running.
for file in "$from/run_kselftest" "$from/selftests" "$from/bench" run_kselftest.sh; do
	cp "$file" "$to/new"
	mv "$to/new" "$to/${file##*/}"
done
names=$("$to/selftests" --list)
find "$to/stablefs" -mindepth 1 -delete
for name in $names; do
	ln -s ../selftests "$to/stablefs/$name"
done
printf 'stablefs:%s\n' $names >"$to/kselftest-list.txt"
