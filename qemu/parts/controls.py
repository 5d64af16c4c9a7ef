# SPDX-License-Identifier: GPL-2.0
"""Controls: a step of a protocol is wrong, and certain cases of its test have to fail. Several in one boot:

    begun -> ended -> the module is removed -> the next is begun
     |                \\-> it cannot be removed: a new boot for the rest
     \\-> the machine dies: that control has failed; a new boot for the rest
"""

import dataclasses
import re
import shlex
import time

from . import ktap, payload, progress, store

LIST = store.TOP / "selftests" / "controls"
BEGUN = "=== control begun"
ENDED = re.compile(r"=== control ended (\d+)")
SCRIPT = f"""\
try() {{
	echo "{BEGUN}"
	"$@"
	echo "=== control ended $?"
	[ ! -d /sys/module/stablefs ] || rmmod stablefs || exit
}}
"""


@dataclasses.dataclass(frozen=True)
class Control:
    """One line of the list."""

    name: str
    test: str
    cases: tuple

    def result(self, saw_it):
        cases = f"{', '.join(self.cases)} of {self.test}: fail, and nothing else"
        return f"{'ok' if saw_it else 'not ok'} - control {self.name}: {cases}"


def listed(select):
    """The controls, or those with the name or the test `select`."""
    lines = [line.split("#")[0].split() for line in LIST.read_text().splitlines()]
    return [Control(name, test, tuple(cases)) for name, test, *cases in filter(None, lines)
            if not select or select in (name, test, *cases)]  # fmt: skip


def run(controls, runner, boot, output):
    """Prints the result of each control behind what its test has printed; returns how many are as they have to be.

    `runner(test)` is a command of the guest, `boot(command, on_output)` runs one."""
    good = 0
    while controls:
        watch = Watch(controls, output)
        boot(["sh", "-c", script(controls, runner)], watch)
        watch.end_of_boot()
        good += watch.good
        controls = controls[watch.ended :]
        if controls:
            progress.say(f"a new boot for the controls that are left, from {controls[0].name} on")
    return good


def script(controls, runner):
    calls = [["try", *payload.environment(control.name), *runner(control.test)] for control in controls]
    return SCRIPT + "\n".join(map(shlex.join, calls))


class Watch:
    """Takes the output of a boot, and shares it out among its controls."""

    def __init__(self, controls, output):
        self.controls = controls
        self.output = output
        self.rest = b""
        self.ended = 0
        self.good = 0
        self.begin()

    def begin(self):
        self.totals = ktap.Totals(self.output, whole=True)
        self.start = time.monotonic()
        self.running = True

    def end(self, status):
        control = self.controls[self.ended]
        saw_it = status == 1 and self.totals.last is not None and self.totals.failed == set(control.cases)
        self.totals.line(f"# control {control.name}: {time.monotonic() - self.start:.0f} s")
        self.totals.line(control.result(saw_it))
        self.totals.flush()
        self.ended += 1
        self.good += saw_it
        self.running = False

    def __call__(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for raw in lines:
            line = raw.decode("utf-8", "replace")
            if line == BEGUN:
                self.begin()
            elif match := ENDED.fullmatch(line):
                self.end(int(match[1]))
            else:
                self.totals.line(line)

    def end_of_boot(self):
        """A machine that died has died of the control that was running, or of the first if it did not get so far."""
        if self.running:
            self.end(None)
