# SPDX-License-Identifier: GPL-2.0
"""What the kernel log says when something is wrong."""

import re

# How reports begin, behind the time; and what stands somewhere in a line that opens one.
OPENINGS = (
    r"WARNING: ",
    r"(watchdog: )?BUG: ",
    r"BUG [-\w]+ \(",
    r"kernel BUG at ",
    r"Oops",
    r"general protection fault",
    r"Kernel panic - not syncing",
    r"UBSAN: ",
    r"kfence: ",
    r"rust_kernel: panicked at",
    r"VFS: Busy inodes after unmount",
    r"unreferenced object ",
)
PHRASES = (
    r"KASAN: ",
    r"possible (circular|recursive|irq lock inversion|deadlock)",
    r"inconsistent lock state",
    r"suspicious RCU usage",
    r"Invalid wait context",
    r"bad unlock balance",
    r"lock held when returning to user space",
    r"still has locks held",
    r"INFO: trying to register non-static key",
    r"INFO: task .* blocked( in I/O wait)? for more than",
    r"rcu: INFO: .*detected (expedited )?stalls?",
    r"hard LOCKUP",
    r"new suspected memory leaks",
    r"Kernel memory leak detector disabled",
    r"guest-init: ",
)
TROUBLE = re.compile(rf"^(\[[^]]*\])* ?({'|'.join(OPENINGS)})|{'|'.join(PHRASES)}")
REPORT_LINES = 60
REPORTS_MAX = 5


class Watcher:
    """Takes the kernel log line by line and keeps the reports of trouble, each with the lines that follow it."""

    def __init__(self):
        self.reports = []
        self.room = 0
        self.count = 0

    def line(self, text):
        if TROUBLE.search(text):
            self.count += 1
            # A report names several kinds of trouble on the lines of its trace: still one report.
            if self.room == 0 and len(self.reports) < REPORTS_MAX:
                self.reports.append([])
                self.room = REPORT_LINES
        if self.room:
            self.reports[-1].append(text)
            self.room -= 1

    def text(self):
        more = f"\n({self.count} lines of the kernel log say that something is wrong)" if self.count > 1 else ""
        return "\n--\n".join("\n".join(report) for report in self.reports) + more
