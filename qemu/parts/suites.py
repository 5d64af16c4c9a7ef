# SPDX-License-Identifier: GPL-2.0
"""The test suites from crates.io that kselftests run in the guest."""

import functools

from . import progress, store, toolchain

SCRIPT = store.RECIPES / "suites.sh"


@functools.cache
def programs():
    """The directory of their programs, made if need be."""
    return store.cached("suites", store.recipe_key(toolchain.key(), SCRIPT), make) / "bin"


def make(part):
    toolchain.root()
    progress.say("==> test suites: a few crates from crates.io")
    toolchain.run(
        "test suites",
        ["sh", f"/src/qemu/recipes/{SCRIPT.name}"],
        {"/out": part},
        part.parent / "suites.log",
        advice="Is the network there? Behind a proxy set http_proxy. Then run this again: finished steps are kept.",
    )
