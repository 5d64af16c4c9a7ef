# SPDX-License-Identifier: GPL-2.0
"""What the kernel log says when something is wrong."""

import re

TROUBLE = re.compile(
    "|".join(
        (
            r"\bWARNING: ",
            r"\bBUG: ",
            r"kernel BUG at ",
            r"\bOops\b",
            r"Kernel panic - not syncing",
            r"general protection fault",
            r"\bKASAN: ",
            r"\bUBSAN: ",
            r"rust_kernel: panicked at",
            r"possible (circular|recursive|irq lock inversion|deadlock)",
            r"inconsistent lock state",
            r"suspicious RCU usage",
            r"Invalid wait context",
            r"bad unlock balance",
            r"lock held when returning to user space",
            r"still has locks held",
            r"INFO: task .* blocked for more than",
            r"rcu: INFO: .* detected (expedited )?stalls?",
            r"watchdog: BUG",
            r"unreferenced object 0x",
            r"Object .* not freed|objects remaining .* on __kmem_cache_shutdown",
            r"guest-init: ",
        )
    )
)
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
