# SPDX-License-Identifier: GPL-2.0
"""What the runner of the kselftests prints: KTAP, passed on and tallied."""

import re

FAILED_CASE = re.compile(r"^ +not ok \d+ (?:- )?(\S+)")
TOTALS = re.compile(r"^# Totals: pass:(\d+) fail:(\d+) xfail:(\d+) xpass:(\d+) skip:(\d+) error:(\d+)")


class Totals:
    """Passes the guest's output on, and keeps the last line of totals and the names of the cases that failed.

    Another machine may be writing, too: what is passed on at a time is a whole test, or with `whole` all tests."""

    def __init__(self, output, whole=False):
        self.output = output
        self.whole = whole
        self.held = []
        self.rest = b""
        self.last = None
        self.failed = set()

    def __call__(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for raw in lines:
            self.line(raw.decode("utf-8", "replace"))

    def line(self, line):
        self.held.append(line)
        if match := TOTALS.match(line):
            self.last = tuple(map(int, match.groups()))
        elif match := FAILED_CASE.match(line):
            self.failed.add(match[1])
        if not self.whole and not line.startswith((" ", "KTAP")):
            self.flush()

    def flush(self):
        with self.output:
            for line in self.held:
                print(line, flush=True)
        self.held = []
