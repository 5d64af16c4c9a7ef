# SPDX-License-Identifier: GPL-2.0
"""One boot of the guest: a command goes in; its output, its exit status and the kernel log come out.

    prepared -> running -> status reported -> powered off
                        \\-> timeout, lost, interrupted: killed

QEMU dies with this process, however that ends; its disks have no names, so nothing is left behind.
"""

import ctypes
import dataclasses
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable

from . import progress, splat, store

STATUS_KERNEL_COMPLAINED = 123
STATUS_TIMEOUT = 124
STATUS_MACHINE_FAILED = 125
POWEROFF_WITHIN = 30.0
SERIAL_TAIL = 40
PR_SET_PDEATHSIG = 1
LOGS_KEPT = 20


@dataclasses.dataclass
class Request:
    """What one boot is asked to do. `timeout` in seconds; `share` a directory of the host, or None; `on_output`
    takes the command's standard output instead of this process's own."""

    command: list
    timeout: float
    share: str | None = None
    interactive: bool = False
    leak_scan: bool = True
    on_output: Callable[[bytes], None] | None = None


def run(machine, request):
    """Boot, run, end. Returns the exit status that the caller should end with."""
    log_path = new_log(machine)
    terminal = termios.tcgetattr(sys.stdin) if request.interactive else None
    with machine.files, open(log_path, "w", encoding="utf-8") as log:
        session = Session(machine, request, log)
        try:
            status = session.run()
        finally:
            session.kill()
            if terminal:
                # A QEMU that was killed leaves it raw.
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, terminal)
    return verdict(status, session, log_path)


def new_log(machine):
    directory = store.BUILD / "log"
    directory.mkdir(parents=True, exist_ok=True)
    for old in sorted(directory.glob("serial-*.log"))[:-LOGS_KEPT]:
        old.unlink(missing_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M%S")
    return directory / f"serial-{stamp}-{machine.kernel.name}-{os.getpid()}.log"


def verdict(status, session, log_path):
    if session.watcher.reports:
        progress.say(f"the guest's kernel complained (whole log: {log_path}):\n{session.watcher.text()}")
        return status or STATUS_KERNEL_COMPLAINED
    if status in (STATUS_TIMEOUT, STATUS_MACHINE_FAILED) and session.failed:
        progress.say("\n".join(session.tail[-SERIAL_TAIL:]))
        progress.say(f"{session.failed}; above: the end of the kernel log, whole: {log_path}")
    return status


class OutOfTime(Exception):
    """The alarm went off."""


def out_of_time(*_):
    raise OutOfTime


class Session:
    def __init__(self, machine, request, log):
        self.machine = machine
        self.request = request
        self.log = log
        self.watcher = splat.Watcher()
        self.tail = []
        self.failed = ""
        self.process = None
        self.reported = b""
        self.serial_rest = b""
        self.selector = selectors.DefaultSelector()

    def channel(self, connect, consume):
        ours, theirs = socket.socketpair()
        connect(theirs)
        self.selector.register(ours, selectors.EVENT_READ, consume)
        return theirs

    def start(self):
        machine, request = self.machine, self.request
        theirs = [self.channel(machine.serial, self.on_serial)]
        theirs.append(self.channel(lambda s: machine.port("status", s), self.on_status))
        if request.interactive:
            machine.console()
        else:
            theirs.append(self.channel(lambda s: machine.port("out", s), request.on_output or forward(sys.stdout)))
            theirs.append(self.channel(lambda s: machine.port("err", s), forward(sys.stderr)))
        if request.share:
            machine.share(request.share)
        size = shutil.get_terminal_size()
        values = {
            **machine.values,
            "dif_guard": {"crc": "0", "ip": "1"}[machine.values["dif_guard"]],
            "pmem_namespace": f"{machine.namespace}M",
            "share": "yes" if request.share else "no",
            "console": "hvc0" if request.interactive else "",
            "rows": str(size.lines),
            "columns": str(size.columns),
            "term": os.environ.get("TERM", "linux"),
            "leak_scan": "yes" if request.leak_scan else "no",
        }
        machine.configure("settings", "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
        machine.configure("command", " ".join(shlex.quote(word) for word in request.command) + "\n")
        machine.append("quiet loglevel=7" if request.interactive else "")
        self.process = subprocess.Popen(
            machine.argv,
            stdin=None if request.interactive else subprocess.DEVNULL,
            stdout=None if request.interactive else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=machine.passed,
            preexec_fn=die_with_parent(os.getpid()),
        )
        for end in theirs:
            end.close()
        self.selector.register(self.process.stderr, selectors.EVENT_READ, self.on_qemu_error)

    def run(self):
        # Writing the guest's output may block for as long as its reader likes: the alarm ends that, too.
        signal.signal(signal.SIGALRM, out_of_time)
        signal.alarm(int(self.request.timeout + POWEROFF_WITHIN) + 1)
        try:
            self.start()
            return self.listen()
        except OutOfTime:
            return self.timeout()
        finally:
            signal.alarm(0)

    def listen(self):
        deadline = time.monotonic() + self.request.timeout
        while self.selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                return self.timeout()
            for key, _ in self.selector.select(timeout=left):
                data = read(key.fileobj)
                if data:
                    key.data(data)
                else:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
            if self.reported.endswith(b"\n") and self.reported:
                deadline = min(deadline, time.monotonic() + POWEROFF_WITHIN)
        self.process.wait()
        if self.reported.strip().isdigit():
            return int(self.reported)
        self.failed = f"the guest ended without an exit status (QEMU's own: {self.process.returncode})"
        return STATUS_MACHINE_FAILED

    def timeout(self):
        if self.reported.strip().isdigit():
            return int(self.reported)  # done, and only the power-off hangs
        self.failed = f"not done within {self.request.timeout:.0f} s: killed"
        return STATUS_TIMEOUT

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def on_serial(self, data):
        *lines, self.serial_rest = (self.serial_rest + data).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip("\r")
            self.log.write(line + "\n")
            self.tail = [*self.tail[-SERIAL_TAIL:], line]
            self.watcher.line(line)
        self.log.flush()

    def on_status(self, data):
        self.reported += data

    def on_qemu_error(self, data):
        text = data.decode("utf-8", "replace")
        self.log.write("qemu: " + text)
        self.tail.append("qemu: " + text.strip())


def forward(stream):
    def consume(data):
        stream.flush()
        stream.buffer.write(data)
        stream.buffer.flush()

    return consume


def read(source):
    try:
        return source.recv(65536) if isinstance(source, socket.socket) else os.read(source.fileno(), 65536)
    except ConnectionResetError:
        return b""


def die_with_parent(parent):
    """A function for the child to call before exec: QEMU is killed when its parent ends, even by SIGKILL."""
    libc = ctypes.CDLL(None, use_errno=True)

    def prepare():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
