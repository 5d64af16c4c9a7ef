#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# From a kernel's installed modules: /out/modules.erofs, which the guest mounts, and /out/boot-modules, which its
# initramfs loads in the order of their names, to reach its disks. Part of stock-kernel.sh and debug-kernel.sh.
#
# usage: kernel-images.sh DIRECTORY RELEASE

set -eu

modules=$1 release=$2

mkdir /out/boot-modules
for name in virtio_blk erofs overlay qemu_fw_cfg; do
	modprobe -d "$modules" -S "$release" --show-depends "$name"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | {
	number=10
	while read -r file; do
		cp "$file" "/out/boot-modules/$number-${file##*/}"
		number=$((number + 1))
	done
}
mkfs.erofs --quiet -T0 --all-root -Enoinline_data /out/modules.erofs "$modules/lib/modules/$release"
echo "$release" >/out/release
