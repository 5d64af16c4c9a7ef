#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Writes the guest's root to standard output, as a tar archive. Runs as root on the host.
#
# usage: guest.sh CONFIG PACKAGES [MIRROR]

set -eu

config=$1 packages=$2 mirror=${3-}
. "$config"
include=$(sed 's/#.*//' "$packages" | tr -s ' \n' ',,')

# shellcheck disable=SC2016 # $1 is the hook's: the directory that mmdebstrap works in
exec mmdebstrap --verbose --format=tar --variant=essential --aptopt='APT::Install-Recommends "false"' \
	--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/i18n/*' \
	--include="${include#,}" \
	--customize-hook='rm -rf "$1"/usr/share/zoneinfo "$1"/usr/lib/python3*/test' \
	--customize-hook='rm -f "$1"/etc/modprobe.d/nvdimm-security.conf' \
	--customize-hook='echo stablefs >"$1/etc/hostname"' \
	"$DEBIAN_SUITE" - ${mirror:+"$mirror"}
