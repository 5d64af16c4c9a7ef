#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Makes, from the packages in the toolchain root, in /out: the build tree that fits the stock kernel (seen as
# /kernel, too), the stock kernel's image, and its modules as the guest mounts them. Runs in the toolchain root.

set -eu

release=$(cat /kernel-release)
headers=/usr/src/linux-headers-$release
stock=$(echo /kernel-image/usr/lib/modules/"$release")

echo "unpacking the kernel source"
tar -xJf /usr/src/linux-source-*.tar.xz -C /kernel --strip-components=1
cp "$headers/.config" "$headers/Module.symvers" /kernel/
# LOCALVERSION is part of the version magic that insmod compares.
printf '%s\n' "make CC=gcc-14 HOSTCC=gcc-14 LOCALVERSION=${release#"$(make -s -C /kernel kernelversion)"}" >/out/make
$(cat /out/make) -C /kernel -j"$(nproc)" olddefconfig modules_prepare
[ "$(cat /kernel/include/config/kernel.release)" = "$release" ] || {
	echo "the source prepares for $(cat /kernel/include/config/kernel.release), the stock kernel is $release"
	exit 1
}

echo "unpacking the stock modules that the guest gets"
mkdir -p "/tmp/modules/lib/modules/$release"
cp "/usr/lib/modules/$release"/modules.builtin* "/usr/lib/modules/$release"/modules.order \
	"/tmp/modules/lib/modules/$release/"
cp -a "$stock/kernel" "/tmp/modules/lib/modules/$release/"
cd "/tmp/modules/lib/modules/$release"
depmod -b /tmp/modules "$release"
sed 's/#.*//' "/src/qemu/recipes/guest-modules.list" | while read -r pattern; do
	[ -z "$pattern" ] || find kernel -path "kernel/$pattern"
done | grep '\.ko' | sort -u >/tmp/wanted
# "module: dependencies" of the wanted ones, all on a line each
awk 'NR == FNR { want[$1 ":"]; next } $1 in want { sub(":", ""); for (i = 1; i <= NF; i++) print $i }' \
	/tmp/wanted modules.dep | sort -u >/tmp/kept
find kernel -type f | sort | comm -23 - /tmp/kept | xargs rm
xargs xz -d </tmp/kept
find kernel -type d -empty -delete
sed -i 's/\.xz$//' modules.order
depmod -b /tmp/modules "$release"

cp "$stock/vmlinuz" /out/vmlinuz
cp "$stock/config" /out/config
sh /src/qemu/recipes/kernel-images.sh /tmp/modules "$release"
