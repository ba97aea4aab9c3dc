"""Measuring: what a job used, from inside its worker; what a worker's tree holds, from the farm.

The kernel keeps a process's peak of resident memory and forgets it on request (`clear_refs` 5). A forked
worker never runs exec, so getrusage's maximum is that same peak, at a fraction of the cost of reading
/proc/self/status.
"""

from __future__ import annotations

import contextlib
import os
import resource
from dataclasses import dataclass

from farm.workers import proc

SLACK_BYTES = 64 * 1024 * 1024
"""What RLIMIT_DATA leaves above the cap: it counts address space (thread stacks, say), touched or not."""


class Meter:
    """In the worker: one job after the other."""

    def __init__(self) -> None:
        self._clear: int | None = None
        self._statm: int | None = None
        with contextlib.suppress(OSError):
            self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._hard = resource.getrlimit(resource.RLIMIT_DATA)[1]

    def reset_peak(self) -> None:
        if self._clear is not None:
            try:
                os.write(self._clear, b"5")
            except OSError:
                os.close(self._clear)
                self._clear = None

    def used(self) -> tuple[float, int]:
        """CPU seconds of this process and the children it waited for; peak resident bytes since the reset."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        below = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime
        return cpu_s, own.ru_maxrss * 1024

    def resident_bytes(self) -> int:
        return self._memory()[0]

    def limit(self, memory_bytes: int) -> None:
        """Soft RLIMIT_DATA: an allocation past the cap raises MemoryError at the line that asked for it."""
        resident, data = self._memory()
        if data and memory_bytes > 0:
            soft = data + max(memory_bytes - resident, 0) + SLACK_BYTES
            self._set(soft if self._hard == resource.RLIM_INFINITY else min(soft, self._hard))

    def unlimit(self) -> None:
        self._set(self._hard)

    def _memory(self) -> tuple[int, int]:
        """(resident, data) bytes."""
        if self._statm is None:
            return 0, 0
        fields = os.pread(self._statm, 128, 0).split()
        return int(fields[1]) * proc.PAGE_BYTES, int(fields[5]) * proc.PAGE_BYTES

    def _set(self, soft: int) -> None:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_DATA, (soft, self._hard))


@dataclass(frozen=True, slots=True)
class Tree:
    """A worker and all below it, at one moment."""

    memory_bytes: int
    cpu_s: float
    below: tuple[tuple[int, int], ...]
    """(pid, start) of the descendants."""


def weigh(pid: int, cap_bytes: int = 0) -> Tree | None:
    """The tree's resident memory; None when the process is gone.

    A forked child shares pages with its parent, so a tree whose plain sum is past the cap is weighed again
    with the shared pages divided.
    """
    root = proc.stat(pid)
    if root is None or root.gone:
        return None
    below = proc.descendants(pid)
    memory = root.rss_bytes + sum(s.rss_bytes for s in below)
    if below and 0 < cap_bytes < memory:
        exact = sum(map(proc.proportional_bytes, [pid, *(s.pid for s in below)]))
        memory = exact or memory
    cpu_s = root.cpu_s + sum(s.cpu_s for s in below)
    return Tree(memory, cpu_s, tuple((s.pid, s.start) for s in below))
