"""Measuring: what a job used, from inside its worker; what a worker's tree holds, from the farm.

The kernel keeps a process's peak of resident memory and forgets it on request (`clear_refs` 5). A forked
worker never runs exec, so getrusage's maximum is that same peak, at a fraction of the cost of reading
/proc/self/status.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from dataclasses import dataclass

from farm.workers import proc

SLACK_BYTES = 64 * 1024 * 1024
"""What RLIMIT_DATA leaves above the cap: it counts address space (thread stacks, say), touched or not."""
LIMIT_S = 0.01
"""How long jobs that are shorter share a limit before it is worked out anew. What a job leaves behind counts on both
sides of it, so that only address space which nobody touches would move it."""


class Meter:
    """In the worker: one job after the other, each measured from where the one before it was (`lap`)."""

    def __init__(self) -> None:
        self._clear: int | None = None
        self._statm: int | None = None
        with contextlib.suppress(OSError):
            self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        self.begin(0)

    def begin(self, memory_bytes: int) -> None:
        """Before a launch, whose jobs may each take so much memory (0: any)."""
        self._memory_bytes = memory_bytes
        self._soft, self._soft_until = self._hard, 0.0
        self.started_cpu_s = self._used()[0]
        self.started_at, self.started = time.time(), time.monotonic()  # in this order: see `lap`

    def lap(self) -> tuple[float, float, int]:
        """A job's wall and CPU seconds, and its peak of resident bytes since `reset_peak`.

        The next one's count from here, so that what lies between two jobs is measured, too. The time of day is
        taken first, so that `started_at` and the wall seconds together never lie behind the job's end.
        """
        cpu_s, peak_bytes = self._used()
        now_at, now = time.time(), time.monotonic()
        wall_s, took_s = now - self.started, cpu_s - self.started_cpu_s
        self.started_at, self.started, self.started_cpu_s = now_at, now, cpu_s
        return round(wall_s, 6), round(took_s, 6), peak_bytes

    def reset_peak(self) -> None:
        if self._clear is not None:
            try:
                os.write(self._clear, b"5")
            except OSError:
                os.close(self._clear)
                self._clear = None

    def _used(self) -> tuple[float, int]:
        """CPU seconds of this process and the children it waited for; peak resident bytes since the reset."""
        own = resource.getrusage(resource.RUSAGE_SELF)
        below = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = own.ru_utime + own.ru_stime + below.ru_utime + below.ru_stime
        return cpu_s, own.ru_maxrss * 1024

    def resident_bytes(self) -> int:
        return self._memory()[0]

    def limit(self) -> None:
        """Soft RLIMIT_DATA: an allocation past the cap raises MemoryError at the line that asked for it."""
        if self._memory_bytes > 0:
            if self.started >= self._soft_until:
                self._soft, self._soft_until = self._limit(), self.started + LIMIT_S
            self._set(self._soft)

    def unlimit(self) -> None:
        self._set(self._hard)

    def _limit(self) -> int:
        resident, data = self._memory()
        if not data:
            return self._hard
        soft = data + max(self._memory_bytes - resident, 0) + SLACK_BYTES
        return soft if self._hard == resource.RLIM_INFINITY else min(soft, self._hard)

    def _memory(self) -> tuple[int, int]:
        """(resident, data) bytes."""
        if self._statm is None:
            return 0, 0
        fields = os.pread(self._statm, 128, 0).split()
        return int(fields[1]) * proc.PAGE_BYTES, int(fields[5]) * proc.PAGE_BYTES

    def _set(self, soft: int) -> None:
        try:  # noqa: SIM105 - twice a job, and `suppress` would cost more than the call itself
            resource.setrlimit(resource.RLIMIT_DATA, (soft, self._hard))
        except (ValueError, OSError):
            pass


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
