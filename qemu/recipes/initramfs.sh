#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Makes /out/initramfs.cpio from the boot modules of the kernel in /in. Not compressed: the guest is emulated, and
# the host reads the file faster than the guest would decompress it. Runs in the toolchain root.

set -eu

tree=/tmp/initramfs
mkdir -p $tree/bin $tree/dev $tree/proc $tree/sys $tree/modules $tree/root
cp /usr/bin/busybox $tree/bin/busybox
cp /in/boot-modules/* $tree/modules/ 2>/dev/null || true
install -m 755 /src/qemu/guest/initramfs-init $tree/init
install -m 755 /src/qemu/guest/init $tree/guest-init
cd $tree
find . | cpio --quiet -o -H newc --owner 0:0 >/out/initramfs.cpio
