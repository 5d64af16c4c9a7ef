#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# mmdebstrap hook: finds the newest kernel of KERNEL_SERIES on offer; installs its source and headers, and unpacks
# (without installing: no initramfs, no boot loader) its image and modules under /kernel-image.

set -eu

root=$1
offers() {
	chroot "$root" apt-cache search --names-only '^linux-headers-[0-9.]+\+deb[0-9]+-amd64$' |
		sed -n 's/^linux-headers-\([^ ]*\) .*/\1/p' | sort -V
}
# A header package whose binary or source is not there yet is no offer.
complete() {
	package_version=$(chroot "$root" apt-cache show --no-all-versions "linux-headers-$1" | sed -n 's/^Version: //p')
	for package in "linux-source-$KERNEL_SERIES" "linux-binary-$1" "linux-modules-$1" "linux-base-$1"; do
		chroot "$root" apt-cache madison "$package" | grep -qF " $package_version " || return 1
	done
}

release=
for candidate in $(offers | grep "^$(echo "$KERNEL_SERIES" | sed 's/\./\\./g')\." | sort -rV); do
	if complete "$candidate"; then
		release=$candidate
		break
	fi
done
if [ -z "$release" ]; then
	echo "Debian offers no complete kernel $KERNEL_SERIES any more; header packages on offer are:" >&2
	offers >&2
	echo "Set KERNEL_SERIES in qemu/kernel.conf to one of these series." >&2
	exit 1
fi
complete "$release" # sets package_version
echo "kernel $release ($package_version)" >&2

chroot "$root" apt-get install --yes --no-install-recommends \
	"linux-headers-$release=$package_version" "linux-source-$KERNEL_SERIES=$package_version"
mkdir "$root/kernel-image" "$root/kernel-debs"
chroot "$root" sh -c 'cd /kernel-debs && apt-get -o APT::Sandbox::User=root download "$@"' sh \
	"linux-binary-$release=$package_version" "linux-modules-$release=$package_version" \
	"linux-base-$release=$package_version"
for deb in "$root"/kernel-debs/*.deb; do
	chroot "$root" dpkg-deb -x "/kernel-debs/${deb##*/}" /kernel-image
done
rm -r "$root/kernel-debs"
echo "$release" >"$root/kernel-release"

# Mount points, for the tree that is built and the place where the results go.
mkdir "$root/src" "$root/out" "$root/kernel" "$root/cargo" "$root/in"
: >"$root/etc/resolv.conf"
