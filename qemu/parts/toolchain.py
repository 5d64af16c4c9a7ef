# SPDX-License-Identifier: GPL-2.0
"""The toolchain root: a Debian 13 tree with every compiler, entered in namespaces of its own.

Nothing is built with the host's tools. Inside, the clone is /src, results go to /out; both vanish from the mount
table with the command that used them.
"""

import functools
import os
import pathlib
import re
import subprocess

from . import host, progress, store

PACKAGES = store.RECIPES / "toolchain.packages"
CONFIG = store.TOP / "qemu" / "kernel.conf"
SCRIPTS = [store.RECIPES / name for name in ("toolchain.sh", "toolchain-backports.sh", "toolchain-kernel.sh")]
CLONE_INSIDE = re.compile(r"(?<![\w.-])/src/")

ENTER = """\
set -e
# An ordinary user's has no sbin, where chroot is.
PATH=$PATH:/usr/sbin:/sbin
root=$1; shift
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
if [ -n "$HOST_CA" ]; then : >"$root/run/host-ca.crt"; mount --bind "$HOST_CA" "$root/run/host-ca.crt"; fi
# The root belongs to all clones and stays as it is: a mount point that it lacks lies in /run.
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --bind "$1" "$root$2"; shift 2; done
shift
# The first process of a pid namespace ignores fatal signals; a shell that waits may be that, make may not.
chroot "$root" "$@"
exit $?
"""
# A pid namespace ends with its first process: nothing of an interrupted step goes on.
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
UNPACK = ["tar", "--exclude=./dev/*", "--checkpoint=10000"]


def key():
    return store.recipe_key(PACKAGES, CONFIG, *SCRIPTS, os.environ.get("MIRROR", ""), UNPACK)


@functools.cache
def root():
    """The root's directory, made if need be."""
    return store.cached("toolchain", key(), make) / "root"


def release():
    """The release of the stock kernel that this toolchain builds for, as `uname -r` says it."""
    return (root() / "kernel-release").read_text().strip()


def make(part):
    progress.say("==> toolchain root: Debian packages, about 1 GB to download, 2.5 GB on disk")
    host.need_program("mmdebstrap", "mmdebstrap")
    mirror = os.environ.get("MIRROR")
    command = [str(SCRIPTS[0]), str(CONFIG), str(PACKAGES), *([mirror] if mirror else [])]
    archive(part / "root.tar", command, "packages", part.parent / "toolchain.log", 1970)
    (part / "root").mkdir()
    progress.run_step(
        "unpacking",
        [*UNPACK, "-xf", str(part / "root.tar"), "-C", str(part / "root")],
        part.parent / "toolchain-unpack.log",
        23,
        advice="Is the disk full? It takes about 5 GB for a moment.",
    )
    (part / "root.tar").unlink()


def archive(path, command, title, log, lines_expected):
    """Run a mmdebstrap recipe (it needs root) into the archive `path`, which belongs to the caller."""
    with open(path, "wb") as out:
        progress.run_step(
            title,
            # What it unpacks lies beside the archive: /tmp may be small.
            host.as_root([*NAMESPACES, "--mount-proc", *command], "making a Debian tree", {"TMPDIR": str(path.parent)}),
            log,
            lines_expected,
            stdout=out,
            own_session=host.is_root(),
            advice="Is the network there, and room for 6 GB on the disk? Behind a proxy set http_proxy; another mirror: "
            "MIRROR=URL. Then run this again: finished steps are kept.",
        )


def enter(command, binds, environment=None):
    """The argv that runs `command` (a list) in the root, with `binds` {path inside: path outside} mounted."""
    namespaces = NAMESPACES + ([] if host.is_root() else ["--user", "--map-root-user"])
    ca = os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt"
    ca = ca if os.path.isfile(ca) else ""
    inside = {
        "PATH": "/usr/sbin:/usr/bin",
        "HOME": "/tmp",
        "LC_ALL": "C.UTF-8",
        "RUST_LIB_SRC": next(str(p) for p in sorted(pathlib.Path(root(), "usr/src").glob("rustc-*/library"))).removeprefix(str(root())),
        "CARGO_HOME": "/cargo",
        **({"CARGO_HTTP_CAINFO": "/run/host-ca.crt"} if ca else {}),
        **host.proxies(),
        **(environment or {}),
    }
    cargo = store.cache_home() / "cargo"
    cargo.mkdir(parents=True, exist_ok=True)
    mounts = [str(x) for pair in {"/src": store.TOP, "/cargo": cargo, **binds}.items() for x in (pair[1], pair[0])]
    return [
        *["env", f"HOST_CA={ca}"],
        *namespaces,
        *["sh", "-c", ENTER, "sh", str(root()), *mounts, "--"],
        *["env", "-i", *(f"{name}={value}" for name, value in inside.items()), *command],
    ]


def run(title, command, binds, log, lines_expected=0, environment=None, advice="", show=False):
    """Run a step in the root; `/src` in its output becomes the clone's own path."""
    progress.run_step(
        title,
        enter(command, binds, environment),
        log,
        lines_expected,
        rewrite=lambda line: CLONE_INSIDE.sub(f"{store.TOP}/", line),
        advice=advice,
        show=show,
    )


def call(command, binds, environment=None, **kwargs):
    """Run a short command in the root with the caller's own streams; returns its status."""
    return subprocess.run(enter(command, binds, environment), **kwargs)
