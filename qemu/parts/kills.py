# SPDX-License-Identifier: GPL-2.0
"""Machines that are killed in the middle of their work, and booted again with what their NVDIMM holds.

    boot: what the last kill left is recovered and checked; work -> killed -> boot ... -> boot: checked, powered off
                                     \\-> killed -> boot ...

`selftests/src/bin/selftests/until_killed.rs` is what runs in the guest.
"""

import random
import re
import secrets
import time

from . import accel, guest, kernel, machine, payload, session

NAME = "survives_kills"
CASE = "on_pmem"
FILESYSTEMS = ("stablefs", "ext4")
# In a run of usual length.
KILLS = 10
# Of the machines that have something to recover, one in so many is killed meanwhile.
IN_RECOVERY = 4
# Seconds that the guest works, or recovers, at most, before it is killed.
WORK_WITHIN = 3.0
RECOVERY_WITHIN = 0.5
# Seconds for one boot, with the check of what the last one left. The debug kernel gets more of both.
BOOT_WITHIN = 240.0
PROGRAM = "/opt/stablefs/selftests/selftests"
DEVICES = ("/dev/test/pmem0", "/dev/test/pmem1")
# Nobody uses the other disks: small ones make a boot shorter.
SETTINGS = ("pmem_size=96", "dif_size=8", "nvme_size=8", "plain_size=8", "memory=1536")
# What the guest says when it may be killed, as `until_killed.rs` has it.
WORKING = b"# working until killed"
RECOVERING = b"# recovering until killed"
CHECKED = re.compile(rb"# round \d+: ")


class Output:
    """Keeps the guest's output in `said`, indented as that of a case, and counts what was checked. The machine is
    killed `delay` s after it said `moment`, if that is given."""

    def __init__(self, said, moment=None, delay=0.0):
        self.said = said
        self.moment = moment
        self.delay = delay
        self.kill = None
        self.rest = b""
        self.checked = 0

    def __call__(self, data):
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            if line == self.moment:
                self.kill = time.monotonic() + self.delay
                line += b", in %.2f s" % self.delay
            elif line in (WORKING, RECOVERING):
                continue
            self.checked += bool(CHECKED.match(line))
            self.said.append("  " + line.decode("utf-8", "replace"))

    def kill_at(self):
        return self.kill


def moment(moments, may_recover, slower):
    """When a machine is to be killed: what it says, and how many seconds later."""
    if may_recover and moments.randrange(IN_RECOVERY) == 0:
        return RECOVERING, moments.uniform(0, RECOVERY_WITHIN * slower)
    return WORKING, moments.uniform(0, WORK_WITHIN * slower)


def run(which, image, args, output):
    """Prints the results of the test as KTAP, at the end, as others may be writing, too: they hold `output` meanwhile.
    Returns 0 if it has passed, 1 if a volume was not sound, or with what else the last boot ended."""
    said = []
    try:
        return kill(which, image, args, said)
    finally:
        with output:
            print("\n".join(said), flush=True)


def kill(which, image, args, said):
    seed = int(args.seed, 0) if args.seed else secrets.randbits(32)
    slower = 5 if args.debug else 1
    said += ["KTAP version 1", "1..1", f"# FSTYP={args.fstyp} SEED={seed:#x}", "  KTAP version 1", "  1..1"]
    moments = random.Random(seed)
    kills = KILLS * args.longer
    values = machine.settings(SETTINGS)
    checked = 0
    with machine.persistent_memory(values) as memory:
        for number in range(kills + 1):
            last = number == kills
            vm = machine.Machine(which, accel.choose(kernel.stock()), guest.image(), image, values, memory, number > 0)
            option = "--after-kill" if last else "--until-killed"
            command = [*payload.environment(args.control), "env", f"FSTYP={args.fstyp}", f"SEED={seed:#x}", PROGRAM, option, *DEVICES]
            output = Output(said) if last else Output(said, *moment(moments, number > 0, slower))
            timeout = BOOT_WITHIN * slower
            request = session.Request(command, timeout, on_output=output, leak_scan=False, kill_at=output.kill_at)
            status = session.run(vm, request)
            checked += output.checked
            if not last and status is not None:
                # Nobody was to end but by being killed.
                status = status or session.STATUS_MACHINE_FAILED
                break
    by = "ext4" if args.fstyp == "ext4" else f"{args.fstyp} and, as copies, by ext4"
    said.append(f"  # {kills} kills, {checked} of the states after them recovered to the end by {by}")
    if status != 0:
        said.append(f"  # seed {seed:#x}; again: make test FSTYP={args.fstyp} T={NAME} SEED={seed:#x}")
    result = "ok" if status == 0 else "not ok"
    said += [f"  {result} 1 {CASE}", f"{result} 1 {NAME}"]
    return status
