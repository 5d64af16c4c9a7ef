# SPDX-License-Identifier: GPL-2.0
"""Several boots at a time: an emulated machine keeps one processor of the host busy, whatever it has itself."""

import multiprocessing
import multiprocessing.connection
import os

from . import progress

# What one machine may take of the host's memory: the guest's, its NVDIMM, and the disks in the page cache.
MEMORY_OF_ONE = 6 << 30
MOST = 4


def places():
    """How many machines run well at a time on this host."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(len(os.sched_getaffinity(0)), memory // MEMORY_OF_ONE, MOST))


def each(work, jobs):
    """Yields `job, work(job)` of each, as they end; each is done in a process of its own, as many at a time as there
    are places. A job that raises ends all."""
    context = multiprocessing.get_context("fork")
    output = context.Lock()
    waiting = list(reversed(jobs))
    running = {}
    try:
        while waiting or running:
            while waiting and len(running) < places():
                job = waiting.pop()
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(target=child, args=(work, job, output, theirs, progress.die_with_parent()))
                process.start()
                theirs.close()
                running[ours] = job, process
            for ours in multiprocessing.connection.wait(list(running)):
                job, process = running[ours]
                try:
                    result = ours.recv()
                except EOFError:
                    result = progress.Failure(f"{job}: ended without a result")
                process.join()
                del running[ours]
                if isinstance(result, progress.Failure):
                    raise result
                yield job, result
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()


def child(work, job, output, results, die_with_parent):
    die_with_parent()
    try:
        results.send(work(job, output))
    except progress.Failure as failure:
        results.send(failure)
    except KeyboardInterrupt:
        os._exit(130)
