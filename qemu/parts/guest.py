# SPDX-License-Identifier: GPL-2.0
"""The guest's root: a minimal Debian 13 as one read-only image."""

import functools
import os

from . import host, progress, store, toolchain

SCRIPT = store.RECIPES / "guest.sh"
MKFS = ["mkfs.erofs", "--quiet", "-Enoinline_data", "--tar=f"]
PACKAGES = store.RECIPES / "guest.packages"


@functools.cache
def image():
    key = store.recipe_key(SCRIPT, PACKAGES, toolchain.CONFIG, os.environ.get("MIRROR", ""), MKFS)
    return store.cached("guest", key, make) / "root.erofs"


def make(part):
    toolchain.root()
    progress.say("==> guest image: Debian packages, about 90 MB to download")
    host.need_program("mmdebstrap", "mmdebstrap")
    mirror = os.environ.get("MIRROR")
    command = [str(SCRIPT), str(toolchain.CONFIG), str(PACKAGES), *([mirror] if mirror else [])]
    toolchain.archive(part / "root.tar", command, "packages", part.parent / "guest.log", 1400)
    toolchain.run(
        "image",
        [*MKFS, "/out/root.erofs", "/out/root.tar"],
        {"/out": part},
        part.parent / "guest-image.log",
    )
    (part / "root.tar").unlink()
