#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Builds the test suites from crates.io that kselftests run in the guest, into /out/bin. Runs in the toolchain root.
#
# The programs are not static: pjdfstest needs libacl, of which the root has no static one. They run in the guest, whose
# libraries are of the same Debian.

set -eu

# The linker looks for the name that only the development package has.
mkdir -p /tmp/lib
ln -sf /usr/lib/x86_64-linux-gnu/libacl.so.1 /tmp/lib/libacl.so
export RUSTFLAGS="-L /tmp/lib" CARGO_TARGET_DIR=/out/target
for suite in fsx@0.3.2 pjdfstest@0.2.2; do
	cargo install --locked --jobs 2 --root /out "$suite"
done
rm -rf /out/target
