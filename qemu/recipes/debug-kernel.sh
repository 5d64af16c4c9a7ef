#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Builds the debug kernel in /kernel, and what boots it in /out. Runs in the toolchain root.

set -eu

echo "unpacking the kernel source"
tar -xJf /usr/src/linux-source-*.tar.xz -C /kernel --strip-components=1
cd /kernel
echo "make LLVM=1" >/out/make
make="$(cat /out/make) -j$(nproc)"
cp /src/qemu/debug-kernel.config /kernel/debug-kernel.config
$make KCONFIG_ALLCONFIG=debug-kernel.config allnoconfig
grep '^CONFIG_' debug-kernel.config | while read -r line; do
	grep -qxF "$line" .config || echo "$line"
done >/tmp/dropped
if [ -s /tmp/dropped ]; then
	echo "qemu/debug-kernel.config asks for what Kconfig dropped (a missing dependency?):"
	cat /tmp/dropped
	exit 1
fi
$make bzImage modules scripts_gdb
$make INSTALL_MOD_PATH=/tmp/modules DEPMOD=depmod modules_install
# Objects are not needed to build modules, vmlinux is for the debugger.
find . -name '*.o' ! -path './scripts/*' ! -path './tools/*' ! -path './rust/*' ! -name module-common.o -delete
find . -name '*.a' ! -path './scripts/*' ! -path './tools/*' -delete

cp arch/x86/boot/bzImage /out/vmlinuz
cp .config /out/config
sh /src/qemu/recipes/kernel-images.sh /tmp/modules "$(cat include/config/kernel.release)"
