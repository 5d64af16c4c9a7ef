# SPDX-License-Identifier: GPL-2.0
"""QEMU's command line: the guest's settings, its disks, its NVDIMM and the channels to it."""

import contextlib
import dataclasses
import os
import pathlib
import tempfile

from . import progress, store

MIB = 1 << 20
LABEL_SIZE = 128 << 10
# Plain features only: every one more is code that emulation runs slowly. The cache-line instructions are what
# persistent memory needs. (With +xsave and no AVX the kernel hangs on QEMU 7.2 before it has a console.)
EMULATED_CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+clflushopt,+clwb,+fsgsbase,+rdrand"


@dataclasses.dataclass(frozen=True)
class Setting:
    """One setting of the machine: its default, what it may be (values, or None for a positive number), its meaning."""

    default: str
    allowed: tuple | None
    meaning: str


SETTINGS = {
    "memory": Setting("3072", None, "memory of the guest, MiB"),
    "cpus": Setting("2", None, "processors of the guest"),
    "pmem_size": Setting("1024", None, "usable size of pmem0 and pmem1, each, MiB"),
    "dif_size": Setting("600", None, "size of dif0 and dif1, each, MiB (the guest's memory holds them)"),
    "dif_type": Setting("1", ("1", "2", "3"), "T10 protection type of dif0 and dif1"),
    "dif_guard": Setting("crc", ("crc", "ip"), "guard of dif0 and dif1: T10 CRC or IP checksum"),
    "dif_sector": Setting("512", ("512", "4096"), "sector size of dif0 and dif1, bytes"),
    "nvme_size": Setting("1024", None, "size of nvme0, MiB"),
    "nvme_type": Setting("1", ("1", "2", "3"), "T10 protection type of nvme0"),
    "nvme_sector": Setting("512", ("512", "4096"), "sector size of nvme0, bytes"),
    "plain_size": Setting("2048", None, "size of plain0 and plain1, each, MiB"),
    "plain_sector": Setting("512", ("512", "4096"), "sector size of plain0 and plain1, bytes"),
    "append": Setting("", (), "more words for the kernel's command line"),
}


def settings(pairs):
    """The settings with KEY=VALUE pairs applied. Fails on an unknown key, or a value that the key does not take."""
    values = {name: setting.default for name, setting in SETTINGS.items()}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        setting = SETTINGS.get(name)
        if not equals or setting is None:
            raise progress.Failure(f"--set {pair}: it is KEY=VALUE, with KEY one of {', '.join(SETTINGS)}")
        if setting.allowed is None and not (value.isascii() and value.isdigit() and int(value) > 0):
            raise progress.Failure(f"--set {pair}: a positive number is wanted ({setting.meaning})")
        if setting.allowed and value not in setting.allowed:
            raise progress.Failure(f"--set {pair}: one of {', '.join(setting.allowed)} is wanted ({setting.meaning})")
        values[name] = value
    return values


class Machine:
    """A machine to be started: its argv, and the files that only QEMU will hold (they end with it)."""

    def __init__(self, kernel, accel, root, payload, values, contents=None, labelled=False):
        """The NVDIMM holds `contents`, a file, if given; `labelled` says that a guest has made its namespaces before."""
        self.values = values
        self.labelled = labelled
        self.kernel = kernel
        self.files = contextlib.ExitStack()
        self.passed = []
        memory = int(values["memory"])
        self.namespace = namespace_size(int(values["pmem_size"]))
        self.argv = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        # One thread for all processors: with one each, a processor now and then runs a breakpoint that the kernel,
        # patching its own code, has already taken back (QEMU 7.2: "Oops: int3", one boot of some 40).
        self.argv += ["-accel", "kvm"] if accel == "kvm" else ["-accel", "tcg,thread=single,tb-size=512"]
        self.argv += ["-cpu", "host" if accel == "kvm" else EMULATED_CPU]
        self.argv += ["-machine", "q35,nvdimm=on", "-smp", values["cpus"]]
        self.argv += ["-m", f"{memory}M,slots=4,maxmem={memory + 2 * self.namespace + 1024}M"]
        self.argv += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci,max_ports=8"]
        self.argv += ["-kernel", str(kernel.image), "-initrd", str(kernel.initramfs)]
        for name, image in (("root", root), ("modules", kernel.modules), ("payload", payload)):
            self.drive(name, image, readonly=True)
            self.argv += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
        for name in ("plain0", "plain1"):
            self.drive(name, self.scratch(int(values["plain_size"]) * MIB))
            sector = values["plain_sector"]
            self.argv += ["-device", f"virtio-blk-pci,drive={name},serial={name},logical_block_size={sector},"
                          f"physical_block_size={sector}"]  # fmt: skip
        self.nvdimm(contents)
        self.nvme()

    def scratch(self, size, filled_from=None):
        """A sparse file without a name, from `filled_from` on full of 0xff; returns the path by which QEMU finds the
        descriptor that it inherits."""
        file = self.files.enter_context(nameless(size))
        if filled_from is not None:
            file.seek(filled_from)
            for start in range(filled_from, size, MIB):
                file.write(b"\xff" * min(MIB, size - start))
            file.flush()
        return self.inherit(file)

    def inherit(self, file):
        self.passed.append(file.fileno())
        return f"/proc/self/fd/{file.fileno()}"

    def drive(self, name, path, readonly=False):
        self.argv += ["-drive", f"if=none,id={name},file={escaped(path)},format=raw,cache=unsafe,"
                      f"readonly={'on' if readonly else 'off'},file.locking=off"]  # fmt: skip

    def nvdimm(self, contents):
        size = nvdimm_size(self.values)
        path = self.inherit(contents) if contents else self.scratch(size)
        self.argv += ["-object", f"memory-backend-file,id=nvdimm,share=on,mem-path={path},size={size}"]
        self.argv += ["-device", f"nvdimm,memdev=nvdimm,unarmed=off,label-size={LABEL_SIZE}"]

    def nvme(self):
        sector, size = int(self.values["nvme_sector"]), int(self.values["nvme_size"]) * MIB
        # Behind the blocks lies their protection information. All ones there says "not written yet, do not check";
        # zeroes would be a wrong reference tag, and a read of a new disk an error.
        self.drive("nvme0", self.scratch(size // sector * (sector + 8), filled_from=size))
        self.argv += ["-device", "nvme,id=nvme,serial=nvme0"]
        self.argv += ["-device", f"nvme-ns,bus=nvme,drive=nvme0,ms=8,mset=0,pi={self.values['nvme_type']},"
                      f"logical_block_size={sector},physical_block_size={sector}"]  # fmt: skip

    def port(self, name, socket):
        """A channel of its own to the guest, which sees a virtio port called org.stablefs.NAME."""
        self.passed.append(socket.fileno())
        self.argv += ["-chardev", f"socket,id={name},fd={socket.fileno()}"]
        self.argv += ["-device", f"virtserialport,chardev={name},name=org.stablefs.{name}"]

    def serial(self, socket):
        self.passed.append(socket.fileno())
        self.argv += ["-chardev", f"socket,id=serial,fd={socket.fileno()}", "-serial", "chardev:serial"]

    def console(self):
        """The terminal of this process becomes the guest's console hvc0."""
        self.argv += ["-chardev", "stdio,id=console,signal=off", "-device", "virtconsole,chardev=console"]

    def share(self, directory):
        path = escaped(pathlib.Path(directory).resolve(strict=True))
        self.argv += ["-fsdev", f"local,id=share,path={path},security_model=none,readonly=on,multidevs=remap"]
        self.argv += ["-device", "virtio-9p-pci,fsdev=share,mount_tag=share"]

    def configure(self, name, text):
        """A file that the guest finds in its firmware configuration."""
        file = self.files.enter_context(tempfile.TemporaryFile())
        file.write(text.encode(errors="surrogateescape"))
        file.flush()
        self.argv += ["-fw_cfg", f"name=opt/org.stablefs/{name},file={self.inherit(file)}"]

    def append(self):
        words = "console=ttyS0 panic=-1 oops=panic mitigations=off no_timer_check init_on_alloc=0 lsm=capability nokaslr"
        words += " rcupdate.rcu_expedited=1 random.trust_cpu=on log_buf_len=4M printk.devkmsg=on ignore_loglevel"
        self.argv += ["-append", f"{words} {self.values['append']}"]


def nameless(size):
    """A sparse file that ends with whoever holds it."""
    directory = store.BUILD / "tmp"
    directory.mkdir(parents=True, exist_ok=True)
    file = tempfile.TemporaryFile(dir=directory)
    file.truncate(size)
    return file


def persistent_memory(values):
    """What the NVDIMM of several machines holds, one after the other."""
    return nameless(nvdimm_size(values))


def nvdimm_size(values):
    return 2 * namespace_size(int(values["pmem_size"])) * MIB + LABEL_SIZE


def namespace_size(usable):
    """MiB of an NVDIMM namespace in fsdax mode with `usable` MiB: its page structures lie in it (1/64), and it is
    aligned."""
    return -(-(usable + usable // 63 + 4) // 32) * 32


def escaped(path):
    """A path as a value in QEMU's option syntax, where a comma is doubled."""
    return os.fspath(path).replace(",", ",,")
