# SPDX-License-Identifier: GPL-2.0
"""One boot of the guest: a command goes in; its output, its exit status and the kernel log come out.

    prepared -> running -> status reported, output at its end -> acknowledged -> powered off
                        \\-> timeout, lost, interrupted, asked for: killed

QEMU dies with this process, however that ends; its disks have no names, so nothing is left behind.
"""

import dataclasses
import os
import re
import secrets
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
LOGS_KEPT = 20


@dataclasses.dataclass
class Request:
    """What one boot is asked to do. `timeout` in seconds; `share` a directory of the host, or None; `on_output`
    takes the command's standard output instead of this process's own; `kill_at` says, once that is known, when the
    machine is to be killed (`time.monotonic()`)."""

    command: list
    timeout: float
    share: str | None = None
    interactive: bool = False
    leak_scan: bool = True
    on_output: Callable[[bytes], None] | None = None
    kill_at: Callable[[], float | None] | None = None


def run(machine, request):
    """Boot, run, end. Returns the exit status that the caller should end with, or None when killed as asked."""
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
        progress.say(f"the guest's kernel complained:\n{session.watcher.text()}")
        status = status or STATUS_KERNEL_COMPLAINED
    elif session.failed:
        progress.say("\n".join(session.tail[-SERIAL_TAIL:]))
    if session.failed:
        progress.say(session.failed)
    if status:
        progress.say(f"exit status {status}; kernel log: {log_path}")
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
        self.end_of_output = secrets.token_bytes(8).hex().encode()
        self.streams = []
        self.status_socket = None
        self.theirs = []
        self.powering_off = False
        self.serial_rest = b""
        self.selector = selectors.DefaultSelector()

    def channel(self, connect, consume):
        ours, theirs = socket.socketpair()
        connect(theirs)
        self.theirs.append(theirs)
        self.selector.register(ours, selectors.EVENT_READ, consume)
        return ours

    def start(self):
        machine, request = self.machine, self.request
        self.channel(machine.serial, self.on_serial)
        self.status_socket = self.channel(lambda s: machine.port("status", s), self.on_status)
        if request.interactive:
            machine.console()
        else:
            for name, write in (("out", request.on_output or forward(sys.stdout)), ("err", forward(sys.stderr))):
                self.streams.append(Stream(self.end_of_output, write))
                self.channel(lambda s, name=name: machine.port(name, s), self.streams[-1])
        if request.share:
            machine.share(request.share)
        size = shutil.get_terminal_size()
        values = {
            **machine.values,
            "dif_guard": {"crc": "0", "ip": "1"}[machine.values["dif_guard"]],
            "pmem_namespace": f"{machine.namespace}M",
            "pmem_labelled": "yes" if machine.labelled else "no",
            "share": "yes" if request.share else "no",
            "console": "hvc0" if request.interactive else "",
            "rows": str(size.lines),
            "columns": str(size.columns),
            "term": os.environ.get("TERM", "linux"),
            "end_of_output": self.end_of_output.decode(),
            "leak_scan": "yes" if request.leak_scan else "no",
        }
        machine.configure("settings", "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
        machine.configure("command", shlex.join(request.command) + "\n")
        machine.append()
        self.process = subprocess.Popen(
            machine.argv,
            stdin=None if request.interactive else subprocess.DEVNULL,
            stdout=None if request.interactive else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=machine.passed,
            preexec_fn=progress.die_with_parent(),
        )
        for end in self.theirs:
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
            if at := self.request.kill_at and self.request.kill_at():
                left = min(left, at - time.monotonic())
                if left <= 0:
                    self.kill()
                    return None
            for key, _ in self.selector.select(timeout=left):
                data = read(key.fileobj)
                if data:
                    key.data(data)
                else:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
            reported = re.fullmatch(rb"\d{1,3}\n", self.reported)
            if reported and not self.powering_off and all(stream.ended for stream in self.streams):
                self.status_socket.send(b"received\n")
                self.powering_off = True
                deadline = min(deadline, time.monotonic() + POWEROFF_WITHIN)
        for stream in self.streams:
            stream.flush()
        self.process.wait()
        if self.powering_off:
            return int(self.reported)
        self.failed = f"the guest ended without an exit status (QEMU's own: {self.process.returncode})"
        return STATUS_MACHINE_FAILED

    def timeout(self):
        if self.powering_off:
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


class Stream:
    """Passes a channel on, up to the mark that says where the output ends."""

    def __init__(self, mark, write):
        self.mark = mark
        self.write = write
        self.held = b""
        self.ended = False

    def __call__(self, data):
        data = self.held + data
        before, mark, _ = data.partition(self.mark)
        self.ended = self.ended or bool(mark)
        # The last bytes may be the first ones of the mark.
        keep = 0 if mark else next((n for n in range(len(self.mark) - 1, 0, -1) if data.endswith(self.mark[:n])), 0)
        self.held = data[len(data) - keep :]
        if passed := before[: len(before) - keep]:
            self.write(passed)

    def flush(self):
        """What was held back is output after all: the machine has ended without the mark."""
        if self.held:
            self.write(self.held)


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

