# SPDX-License-Identifier: GPL-2.0
"""What a user sees of a step that takes time: what is done, how far it is, and what to do when it fails."""

import collections
import contextlib
import ctypes
import os
import re
import selectors
import signal
import subprocess
import sys
import time

TAIL_LINES = 30
PLAIN_INTERVAL = 15.0
TTY_INTERVAL = 0.5
PR_SET_PDEATHSIG = 1
SGR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class Failure(Exception):
    """A step that failed; the message says what happened and what to do."""


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bar:
    """One line that is rewritten on a terminal, and repeated now and then without one."""

    def __init__(self, title):
        self.title = title
        self.start = time.monotonic()
        self.shown = self.start
        self.tty = sys.stderr.isatty()
        self.dirty = False

    def update(self, how_far):
        now = time.monotonic()
        if now - self.shown < (TTY_INTERVAL if self.tty else PLAIN_INTERVAL):
            return
        self.shown = now
        text = f"    {self.title}: {now - self.start:4.0f} s  {how_far}"
        if self.tty:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            sys.stderr.write("\r\x1b[K" + text[: columns - 1])
            sys.stderr.flush()
            self.dirty = True
        else:
            say(text)

    def clear(self):
        if self.dirty:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self.dirty = False

    def done(self, what):
        self.clear()
        say(f"    {self.title}: {what} ({time.monotonic() - self.start:.0f} s)")


def die_with_parent():
    """A function for a child to call before exec: it is killed when its parent ends, even by SIGKILL."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def prepare():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def exit_on_signals():
    """SIGTERM and SIGHUP end this program as an exception does, so that what it has begun is ended, too."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))


def terminate(process, own_session):
    """End a step: politely, then for certain. One that runs as root hears from the terminal, or from its pipe."""
    for number, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if own_session:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        try:
            process.wait(timeout=patience)
            return
        except subprocess.TimeoutExpired:
            continue


def run_step(
    title, argv, log, lines_expected=0, stdout=None, rewrite=None, advice="", show=False, own_session=True
):
    """Run `argv` as a step that a user watches, its output in the file `log`.

    `lines_expected` is about how many lines it prints: it makes the percentage. `stdout` takes standard output
    elsewhere (a file), so that only standard error is watched. `rewrite` maps a line before it is kept. With
    `show`, the lines themselves are what the user watches. A step that may ask for a password on the terminal
    cannot have a session of its own; the terminal's Ctrl-C then reaches it directly.
    """
    bar = Bar(title)
    tail = collections.deque(maxlen=TAIL_LINES)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "w", encoding="utf-8", errors="replace") as kept:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout if stdout is not None else subprocess.PIPE,
            stderr=subprocess.PIPE if stdout is not None else subprocess.STDOUT,
            start_new_session=own_session,
            preexec_fn=die_with_parent(),
            # Locks are inherited, and nothing else is marked as inheritable.
            close_fds=False,
        )
        stream = process.stderr if stdout is not None else process.stdout
        try:
            count = 0
            for line in lines_of(stream, lambda: bar.update(position(count, lines_expected, tail))):
                line = SGR.sub("", line)
                if rewrite:
                    line = rewrite(line)
                kept.write(line + "\n")
                if line.strip():
                    count += 1
                    tail.append(line)
                    if show:
                        say("    " + line)
                if not show:
                    bar.update(position(count, lines_expected, tail))
            status = process.wait()
        except BaseException:
            bar.clear()
            terminate(process, own_session)
            raise
    if status != 0:
        bar.clear()
        if not show:
            say("\n".join("    | " + line for line in tail))
        raise Failure(f"{title}: failed with status {status}; whole output: {log}" + (f"\n{advice}" if advice else ""))
    if not show:
        bar.done("done")


def position(count, lines_expected, tail):
    last = tail[-1].strip()[:60] if tail else ""
    if lines_expected:
        return f"{min(99, 100 * count // lines_expected):2d} %  {last}"
    return last


def lines_of(stream, idle):
    """The lines of a pipe; `idle` is called at least twice a second while none comes."""
    selector = selectors.DefaultSelector()
    selector.register(stream, selectors.EVENT_READ)
    rest = b""
    while True:
        if not selector.select(timeout=TTY_INTERVAL):
            idle()
            continue
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            break
        # A progress bar of the step's own returns the carriage instead of ending the line.
        *whole, rest = re.split(rb"[\r\n]", rest + chunk)
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
