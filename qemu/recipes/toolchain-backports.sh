#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# mmdebstrap hook: offers backports from the mirror that the root's own sources.list names.

set -eu

lists=$1/etc/apt
sed -n "s/ $DEBIAN_SUITE main\$/ $DEBIAN_SUITE-backports main/p" "$lists/sources.list" \
	>"$lists/sources.list.d/backports.list"
if ! [ -s "$lists/sources.list.d/backports.list" ]; then
	echo "found no mirror to take $DEBIAN_SUITE-backports from in sources.list:" >&2
	cat "$lists/sources.list" >&2
	exit 1
fi
