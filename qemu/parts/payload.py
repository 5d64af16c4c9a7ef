# SPDX-License-Identifier: GPL-2.0
"""What is under test: stablefs.ko and the selftests, built from this clone, and the image that takes them to the guest."""

import re
import shutil

from . import store, suites, toolchain

DEMO = store.TOP / "qemu" / "guest" / "demo"
CONTROLS = store.TOP / "rust" / "kernel" / "control.rs"
CONTROL_NAME = re.compile(r'^    \w+ = c"(\w+)",$', re.MULTILINE)


def building():
    """Held by whoever changes build/: in one clone there is one build at a time."""
    return store.locked(store.BUILD / "build.lock", "the build of this clone")


def add_control(parser):
    """The option --control, which takes what the module knows."""
    names = CONTROL_NAME.findall(CONTROLS.read_text())
    parser.add_argument("--control", default="", choices=names, metavar="NAME",
                        help=f"with the module in which a step of a protocol is wrong: {', '.join(names)}")  # fmt: skip


def environment(control):
    """What goes before a command of the guest: whoever inserts the module there tells it which control is wanted."""
    return ["env", f"CONTROL={control}"] if control else []


def build_module(which, controls=False, clippy=False):
    """Build stablefs.ko for a kernel; returns the directory of the results.

    The module with `controls` has a directory of its own, as has clippy's check.
    """
    out = store.BUILD / "-".join(filter(None, ("module", which.name, controls and "controls", clippy and "clippy")))
    out.mkdir(parents=True, exist_ok=True)
    make = [*which.make, "-C", "/kernel", "M=/src", "MO=/out", f"STABLEFS_CONTROLS={1 if controls else ''}"]
    toolchain.run(
        f"module for {which.release}" + (", with controls" if controls else ""),
        [*make, *(["CLIPPY=1", "W=e"] if clippy else []), "modules"],
        {"/kernel": which.tree, "/out": out},
        out / "build.log",
        show=clippy,
        advice="" if clippy else "The compiler's messages are above.",
    )
    return out


def build_selftests(with_suites=False):
    """Build the selftests as static programs; returns the folder that an installed suite is.

    The suites from crates.io take minutes the first time, so only those get them who run the tests.
    """
    target = store.BUILD / "selftests-target"
    installed = store.BUILD / "selftests"
    target.mkdir(parents=True, exist_ok=True)
    installed.mkdir(exist_ok=True)
    toolchain.run(
        "selftests",
        ["sh", "/src/selftests/install.sh", "/out"],
        {"/out": installed, "/run/target": target},
        store.BUILD / "selftests.log",
        environment={"CARGO_TARGET_DIR": "/run/target"},
    )
    if with_suites:
        shutil.copytree(suites.programs(), installed / "suites", dirs_exist_ok=True)
    return installed


def image(which, controls=False):
    """The image that the guest mounts at /opt/stablefs: what was built last, and what was never built is built now."""
    name = "-".join(filter(None, (which.name, controls and "controls")))
    module = store.BUILD / f"module-{name}" / "stablefs.ko"
    installed = store.BUILD / "selftests"
    with building():
        if not module.exists():
            build_module(which, controls)
        if not (installed / "kselftest-list.txt").exists():
            build_selftests()
        result = store.BUILD / f"payload-{name}.erofs"
        newest = max(path.lstat().st_mtime for path in (module, DEMO, *installed.rglob("*")))
        if not result.exists() or result.stat().st_mtime <= newest:
            store.replace_file(result, lambda temporary: make_image(module, installed, temporary))
    return result


def make_image(module, installed, result):
    folder = store.BUILD / "payload"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(installed, folder / "selftests", symlinks=True)
    shutil.copy(module, folder)
    shutil.copy(DEMO, folder)
    # A source tree for the demonstration to unpack: stablefs's own.
    shutil.make_archive(str(folder / "source"), "tar", store.TOP, "rust")
    script = f"strip --strip-debug /in/stablefs.ko && mkfs.erofs --quiet -T0 --all-root -Enoinline_data /out/{result.name} /in"
    toolchain.run("payload", ["sh", "-c", script], {"/in": folder, "/out": store.BUILD}, store.BUILD / "payload.log")
    shutil.rmtree(folder)
