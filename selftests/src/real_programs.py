# SPDX-License-Identifier: GPL-2.0
"""Processes that write and read the files of a real program.

work PROGRAM DIRECTORY SEED STEPS      so many steps of each writer; says `WRITER STEP` of each that is committed
check PROGRAM DIRECTORY SEED STEP...   of each writer, the steps up to this one at least are there

A step is a transaction: it stores the contents of the step, removes those of one long ago, and counts. Whoever looks finds
of each writer a number of steps, and the contents of just the last of them.
"""

import ctypes
import hashlib
import os
import signal
import sys

WRITERS = 3
READERS = 2
# Seconds from one look of a reader to the next, so that writers come to something.
PAUSE = 0.1
# What a reader is sent when no writer is at work any more.
ENDED = signal.SIGUSR1


class Sqlite:
    """With a write-ahead log that is checkpointed often, and the database mapped: loads from mappings of what write(2) and
    ftruncate(2) change, and stores to the mapping by which the processes share the index of the log."""

    keep = 100
    lengths = range(1, 6000)

    def __init__(self, directory, working):
        import sqlite3

        self.db = sqlite3.connect(f"{directory}/sqlite", timeout=120, isolation_level=None)
        for name, value in (("journal_mode", "wal"), ("mmap_size", 1 << 26), ("wal_autocheckpoint", 64)):
            (is_set,) = self.db.execute(f"PRAGMA {name}={value}").fetchone()
            assert is_set == value, f"{name} is {is_set}"
        self.db.execute("PRAGMA synchronous=FULL")
        self.db.execute("CREATE TABLE IF NOT EXISTS counts (writer INTEGER PRIMARY KEY, count)")
        self.db.execute("CREATE TABLE IF NOT EXISTS steps (writer, step, contents, PRIMARY KEY (writer, step))")

    def step(self, writer, step, contents):
        self.db.execute("BEGIN IMMEDIATE")
        self.db.execute("INSERT INTO steps VALUES (?, ?, ?)", (writer, step, contents))
        self.db.execute("DELETE FROM steps WHERE writer = ? AND step <= ?", (writer, step - self.keep))
        self.db.execute("REPLACE INTO counts VALUES (?, ?)", (writer, step))
        self.db.execute("COMMIT")

    def snapshot(self):
        self.db.execute("BEGIN")
        counts = dict(self.db.execute("SELECT * FROM counts"))
        steps = {(writer, step): contents for writer, step, contents in self.db.execute("SELECT * FROM steps")}
        self.db.execute("COMMIT")
        return [counts.get(writer, 0) for writer in range(WRITERS)], steps

    def check(self):
        said = self.db.execute("PRAGMA integrity_check").fetchall()
        assert said == [("ok",)], said

    def close(self):
        self.db.close()


class Lmdb:
    """As it is by default: loads from a mapping of what write(2) changes. The writers' lock lies in a mapping, too, and is
    robust: who gets it is told if the one who had it was killed."""

    keep = 100
    lengths = range(1, 6000)
    writemap = False

    def __init__(self, directory, working):
        import lmdb

        self.env = lmdb.open(f"{directory}/lmdb", subdir=False, map_size=8 << 20, writemap=self.writemap)

    def step(self, writer, step, contents):
        with self.env.begin(write=True) as transaction:
            transaction.put(b"%d %d" % (writer, step), contents)
            transaction.delete(b"%d %d" % (writer, step - self.keep))
            transaction.put(b"%d" % writer, b"%d" % step)

    def snapshot(self):
        with self.env.begin() as transaction:
            found = {tuple(map(int, key.split())): value for key, value in transaction.cursor()}
        return [int(found.pop((writer,), 0)) for writer in range(WRITERS)], found

    def check(self):
        self.env.reader_check()
        # Such a copy is made by walking all trees, and fails if the pages are not what they say.
        with open(os.devnull, "wb") as nowhere:
            self.env.copyfd(nowhere.fileno(), compact=True)
        with self.env.begin() as transaction:
            assert self.env.stat()["entries"] == sum(1 for _ in transaction.cursor())

    def close(self):
        self.env.close()


class LmdbWritemap(Lmdb):
    """With MDB_WRITEMAP: stores to a mapping of a file with holes, and msync(2)."""

    writemap = True


class Libpmem:
    """Persistent copies to a MAP_SYNC mapping of preallocated space; no system call makes them persistent. All writers have
    a part of each page."""

    keep = 1500
    lengths = range(512, 513)
    length = 4 << 20
    pages = length // 4096
    # PMEM_FILE_CREATE: also gives a file that is there the length, and the space.
    flags = 1

    def __init__(self, directory, working):
        self.pmem = ctypes.CDLL("libpmem.so.1")
        self.pmem.pmem_map_file.restype = ctypes.c_void_p
        self.pmem.pmem_errormsg.restype = ctypes.c_char_p
        self.pmem.pmem_memcpy_persist.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self.pmem.pmem_unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        path, is_pmem = f"{directory}/pmem".encode(), ctypes.c_int()
        length = ctypes.c_size_t(self.length)
        self.base = self.pmem.pmem_map_file(path, length, self.flags, 0o600, None, ctypes.byref(is_pmem))
        assert self.base, self.pmem.pmem_errormsg().decode()
        if working:
            assert is_pmem, "libpmem does not take it for persistent memory"
            assert is_synced(self.base), "libpmem has not mapped it with MAP_SYNC"

    def place(self, writer, step):
        """Where the contents of a step are: in each page but the first, in no order, then in each once more."""
        turn, page = divmod(step, self.pages - 1)
        return self.base + (1 + page * 769 % (self.pages - 1)) * 4096 + (turn % 2 * 4 + writer) * 512

    def step(self, writer, step, contents):
        self.pmem.pmem_memcpy_persist(self.place(writer, step), contents, len(contents))
        # A word is stored at once.
        self.pmem.pmem_memcpy_persist(self.base + writer * 64, step.to_bytes(8, "little"), 8)

    def snapshot(self):
        counts = [int.from_bytes(ctypes.string_at(self.base + writer * 64, 8), "little") for writer in range(WRITERS)]
        return counts, {
            (writer, step): ctypes.string_at(self.place(writer, step), self.lengths[0])
            for writer, count in enumerate(counts)
            for step in last(count, self.keep)
        }

    def check(self):
        pass

    def close(self):
        self.pmem.pmem_unmap(self.base, self.length)


class LibpmemSparse(Libpmem):
    """The same in a file with holes."""

    # PMEM_FILE_CREATE and PMEM_FILE_SPARSE.
    flags = 1 | 4


PROGRAMS = {
    "sqlite": Sqlite,
    "lmdb": Lmdb,
    "lmdb_writemap": LmdbWritemap,
    "libpmem": Libpmem,
    "libpmem_sparse": LibpmemSparse,
}


def is_synced(address):
    """Whether the mapping at `address` has `sf` among its flags, a synchronous page fault."""
    inside = False
    with open("/proc/self/smaps") as lines:
        for line in lines:
            first, *rest = line.split()
            if first == "VmFlags:" and inside:
                return "sf" in rest
            if not first.endswith(":"):
                start, end = (int(part, 16) for part in first.split("-"))
                inside = start <= address < end
    return False


def last(count, keep):
    return range(max(1, count - keep + 1), count + 1)


def contents(program, seed, writer, step):
    stream = hashlib.shake_128(f"{seed} {writer} {step}".encode())
    return stream.digest(program.lengths[int.from_bytes(stream.digest(4)) % len(program.lengths)])


def look(program, seed):
    """How many steps there are of each writer, if that and their contents fit."""
    counts, found = program.snapshot()
    for writer, count in enumerate(counts):
        for step in last(count, program.keep):
            have, want = found.pop((writer, step), b"nothing"), contents(program, seed, writer, step)
            assert have == want, f"writer {writer}, step {step} of {count}: {have[:16]} is there, want {want[:16]}"
    assert not found, f"besides {counts} steps there are {list(found)}"
    return counts


def write(kind, directory, seed, writer, steps):
    program = kind(directory, True)
    for step in steps:
        program.step(writer, step, contents(program, seed, writer, step))
        os.write(1, b"%d %d\n" % (writer, step))


def read(kind, directory, seed, goal):
    program = kind(directory, True)
    counts, writers_work = look(program, seed), True
    while writers_work:
        writers_work = signal.sigtimedwait([ENDED], PAUSE) is None
        before, counts = counts, look(program, seed)
        assert all(map(int.__le__, before, counts)), f"{counts} steps after {before}"
    assert counts == goal, f"{counts} steps are there in the end, want {goal}"


def fork(work, *args):
    child = os.fork()
    if child == 0:
        try:
            work(*args)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return child


def work(kind, directory, seed, steps):
    os.makedirs(directory, exist_ok=True)
    program = kind(directory, True)
    counts = look(program, seed)
    # Neither SQLite nor LMDB may be open across a fork.
    program.close()
    # Not all of them see to it that their files' names are there after a crash.
    for path in (directory, os.path.dirname(directory)):
        names = os.open(path, os.O_RDONLY)
        os.fsync(names)
        os.close(names)
    goal = [count + steps for count in counts]
    signal.pthread_sigmask(signal.SIG_BLOCK, [ENDED])
    writers = {fork(write, kind, directory, seed, n, range(counts[n] + 1, goal[n] + 1)) for n in range(WRITERS)}
    readers = {fork(read, kind, directory, seed, goal) for _ in range(READERS)}
    while writers | readers:
        child, status = os.wait()
        if status:
            for other in (writers | readers) - {child}:
                os.kill(other, signal.SIGKILL)
            sys.exit(f"a process has ended with status {status:#x}")
        (writers if child in writers else readers).remove(child)
        if not writers:
            for reader in readers:
                os.kill(reader, ENDED)


def check(kind, directory, seed, promised):
    program = kind(directory, False)
    counts = look(program, seed)
    assert all(map(int.__le__, promised, counts)), f"of {promised} steps that were committed {counts} are there"
    program.check()
    program.close()


def main(verb, name, directory, seed, *counts):
    # What goes wrong is heard among the steps.
    os.dup2(1, 2)
    kind, counts = PROGRAMS[name], list(map(int, counts))
    if verb == "work":
        work(kind, directory, seed, *counts)
    else:
        check(kind, directory, seed, counts)


main(*sys.argv[1:])
