#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Writes the toolchain root to standard output, as a tar archive: a Debian tree with compilers, and from its
# backports the source, headers and binary of the newest kernel of KERNEL_SERIES. Runs as root on the host.
#
# usage: toolchain.sh CONFIG PACKAGES [MIRROR]

set -eu

config=$1 packages=$2 mirror=${3-}
. "$config"
here=$(cd "$(dirname "$0")" && pwd)
include=$(sed 's/#.*//' "$packages" | tr -s ' \n' ',,')
export KERNEL_SERIES DEBIAN_SUITE

# shellcheck disable=SC2016 # $1 is the hooks': the directory that mmdebstrap works in
exec mmdebstrap --verbose --format=tar --variant=apt --aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	--include="${include#,}" \
	--setup-hook="'$here/toolchain-backports.sh' \"\$1\"" \
	--customize-hook="'$here/toolchain-kernel.sh' \"\$1\"" \
	"$DEBIAN_SUITE" - ${mirror:+"$mirror"}
