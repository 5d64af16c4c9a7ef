# SPDX-License-Identifier: GPL-2.0
"""The two kernels, each with a build tree, an image, and modules: the stock one, and the debug one."""

import dataclasses
import functools
import pathlib

from . import progress, store, toolchain

IMAGES = store.RECIPES / "kernel-images.sh"
STOCK = store.RECIPES / "stock-kernel.sh"
STOCK_MODULES = store.RECIPES / "guest-modules.list"
DEBUG = store.RECIPES / "debug-kernel.sh"
DEBUG_CONFIG = store.TOP / "qemu" / "debug-kernel.config"
INIT = [store.TOP / "qemu" / "guest" / name for name in ("initramfs-init", "init")]
INITRAMFS = store.RECIPES / "initramfs.sh"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel to build a module for, and to boot. `name` is "stock" or "debug"."""

    name: str
    key: str
    directory: pathlib.Path

    @property
    def tree(self):
        return self.directory / "tree"

    @property
    def image(self):
        return self.directory / "vmlinuz"

    @property
    def modules(self):
        return self.directory / "modules.erofs"

    @property
    def release(self):
        return (self.directory / "release").read_text().strip()

    @property
    def make(self):
        """The make command, with its variables, that a module must be built with to fit."""
        return (self.directory / "make").read_text().split()

    @functools.cached_property
    def initramfs(self):
        key = store.recipe_key(self.key, INITRAMFS, *INIT)
        return store.cached("initramfs", key, functools.partial(make_initramfs, self)) / "initramfs.cpio"


@functools.cache
def stock():
    key = store.recipe_key(toolchain.key(), STOCK, STOCK_MODULES, IMAGES)
    return Kernel("stock", key, store.cached("stock-kernel", key, functools.partial(make, "stock", STOCK, 230)))


@functools.cache
def debug():
    key = store.recipe_key(toolchain.key(), DEBUG, DEBUG_CONFIG, IMAGES)
    return Kernel("debug", key, store.cached("debug-kernel", key, functools.partial(make, "debug", DEBUG, 2410)))


def make(name, script, lines_expected, part):
    took = {"stock": "about 2 minutes", "debug": "KASAN, lockdep and more; about 15 minutes on 2 cores, once"}[name]
    toolchain.root()
    progress.say(f"==> {name} kernel: build tree, image and modules ({took})")
    (part / "tree").mkdir()
    toolchain.run(
        f"{name} kernel",
        ["sh", f"/src/qemu/recipes/{script.name}"],
        {"/kernel": part / "tree", "/out": part},
        part.parent / f"{name}-kernel.log",
        lines_expected,
        advice="Is the disk full? A kernel takes about 3 GB.",
    )


def make_initramfs(kernel, part):
    toolchain.run(
        f"initramfs of the {kernel.name} kernel",
        ["sh", f"/src/qemu/recipes/{INITRAMFS.name}"],
        {"/in": kernel.directory, "/out": part},
        part.parent / "initramfs.log",
    )
