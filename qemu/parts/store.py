# SPDX-License-Identifier: GPL-2.0
"""The cache: one directory for each recipe, named by a hash of what it is made from.

    absent -> locked -> being made in a directory of its own -> published by rename -> trusted

Only a whole directory ever gets its final name, so what an interrupted step leaves behind is never trusted; it is
removed by the next step that takes the lock. The lock is flock(2)'s, and the programs that a step runs inherit it: it
ends with the last of them, however they end.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil

from .progress import Failure, say

TOP = pathlib.Path(__file__).resolve().parents[2]
RECIPES = TOP / "qemu" / "recipes"
BUILD = TOP / "build"


def cache_home():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return pathlib.Path(base) / "stablefs"


def recipe_key(*inputs):
    """A hash of files (paths) and values (strings), in order."""
    digest = hashlib.sha256()
    for item in inputs:
        data = item.read_bytes() if isinstance(item, pathlib.Path) else str(item).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def locked(path, waiting_for):
    """Hold an exclusive lock on `path`; says what it waits for when somebody else holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"    another run holds {waiting_for}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        os.set_inheritable(lock.fileno(), True)
        yield


def cached(name, key, make):
    """The directory `name`-`key`, made by `make(directory)` if it is not there yet."""
    home = cache_home()
    final = home / f"{name}-{key}"
    if final.is_dir():
        return final
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / f"{name}-{key}.lock", f"the {name} step"):
        if final.is_dir():
            return final
        sweep(home, final.name)
        part = home / f"{name}-{key}.part"
        part.mkdir()
        make(part)
        os.sync()
        part.rename(final)
    return final


def sweep(home, ours):
    """Remove what interrupted steps have left: ours, and that of recipes that nobody is making now."""
    for stale in home.glob("*.part"):
        with open(home / f"{stale.stem}.lock", "w") as lock:
            if stale.stem != ours:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
            shutil.rmtree(stale, ignore_errors=True)
            if stale.exists():
                raise Failure(f"an interrupted step left {stale}, which only root may remove: sudo rm -r {stale}")


def replace_file(path, write):
    """Write a file under another name with `write(temporary_path)`, then let it take its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
