# SPDX-License-Identifier: GPL-2.0
"""KVM or emulation: decided by booting a kernel, since /dev/kvm may open and yet run nothing.

ACCEL=kvm or ACCEL=tcg in the environment decides instead.
"""

import os
import selectors
import subprocess
import time

from . import progress, store

FIRST_LINE_WITHIN = 8.0
BOOT_WITHIN = 40.0


def wish():
    """What ACCEL says, perhaps nothing. Fails if it says anything else, or what cannot be."""
    value = os.environ.get("ACCEL", "")
    if value not in ("", "kvm", "tcg"):
        raise progress.Failure(f"ACCEL={value}: it is kvm or tcg")
    if value == "kvm" and not has_kvm():
        raise progress.Failure("ACCEL=kvm: /dev/kvm is not there, or not for this user")
    return value


def has_kvm():
    return os.access("/dev/kvm", os.R_OK | os.W_OK)


def choose(kernel):
    if value := wish():
        return value
    if not has_kvm():
        return "tcg"
    version = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True).stdout
    device = os.stat("/dev/kvm")
    key = store.recipe_key(os.uname().release, version, kernel.key, device.st_rdev, boot_id())
    answer = store.cache_home() / f"accel-{key}"
    if answer.exists():
        return answer.read_text()
    works = kvm_boots(kernel)
    choice = "kvm" if works else "tcg"
    store.replace_file(answer, lambda path: path.write_text(choice))
    what = "works" if works else "opens, but a kernel does not boot on it: emulating"
    progress.say(f"    /dev/kvm {what} (remembered in {answer})")
    return choice


def boot_id():
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read()


def kvm_boots(kernel):
    """Boot the kernel on KVM with nothing to mount: it works if it gets as far as missing its root."""
    argv = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "512M", "-nodefaults"]
    argv += ["-display", "none", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel.image)]
    argv += ["-append", "console=ttyS0 earlyprintk=serial,ttyS0,115200 panic=-1"]
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               preexec_fn=progress.die_with_parent())  # fmt: skip
    start = time.monotonic()
    seen = b""
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"Unable to mount root fs" not in seen:
                limit = BOOT_WITHIN if b"Linux version" in seen else FIRST_LINE_WITHIN
                left = start + limit - time.monotonic()
                if left <= 0 or not selector.select(timeout=left):
                    return False
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    return False
                seen += chunk
        return True
    finally:
        process.kill()
        process.wait()
