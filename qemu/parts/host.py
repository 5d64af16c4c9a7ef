# SPDX-License-Identifier: GPL-2.0
"""The host: what it is asked to do as root."""

import os
import shutil
import subprocess

from .progress import Failure, say


def is_root():
    return os.geteuid() == 0


PROXY = ("http_proxy", "https_proxy", "no_proxy")


def proxies():
    """The variables that name a proxy, which neither sudo nor a toolchain root hands on by itself."""
    return {name: value for name, value in os.environ.items() if name.lower() in PROXY}


def as_root(argv, why, environment):
    """The command line that runs `argv` as root: itself, or through sudo, which may ask for a password now."""
    variables = {**proxies(), **environment}
    argv = ["env", *(f"{name}={value}" for name, value in variables.items()), *argv]
    if is_root():
        return argv
    if not shutil.which("sudo"):
        raise Failure(f"{why} needs root: install sudo, or run this as root")
    say(f"    {why} needs root: sudo")
    # Not -v at once: it asks for a password where any rule of the user's wants one, even if this command's does not.
    allowed = subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0
    if not allowed and subprocess.run(["sudo", "-v"]).returncode != 0:
        raise Failure(f"{why} needs root, and sudo refused")
    return ["sudo", *argv]


def need_program(program, package):
    if not shutil.which(program):
        raise Failure(f"{program} is missing: `make host-packages` installs it (Debian package {package})")
