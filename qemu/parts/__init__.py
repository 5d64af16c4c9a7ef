# SPDX-License-Identifier: GPL-2.0
"""The parts that stablefs is built and tried with: toolchain root, kernels, guest image, virtual machine.

    progress    what a user sees of a long step
    store       the cache: one directory a recipe, published whole or not at all
    toolchain   the Debian 13 root that everything is compiled in
    kernel      the stock kernel, the debug kernel, and what boots them
    guest       the guest's root image
    payload     stablefs.ko and the selftests, as the guest sees them
    accel       KVM or emulation
    machine     QEMU's command line and the guest's devices
    session     one boot: command in, output and exit status out
    splat       what the kernel says when something is wrong
    gdb-symbols what gdb reads (qemu/gdb)
"""
