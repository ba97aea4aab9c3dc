"""Reading /proc. Standard library only: the guard imports it in a bare interpreter."""

# Read ten times a second; a Path for each process would cost as much as the reading.
# ruff: noqa: PTH110, PTH123, PTH208

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from typing import NamedTuple

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36

_libc = ctypes.CDLL(None, use_errno=True)


_PUNCH_HOLE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class Stat(NamedTuple):
    pid: int
    state: str
    parent: int
    session: int
    start: int
    """Clock ticks since boot: with the pid, a process's identity."""
    cpu_s: float
    """User and system time, children that were waited for included."""
    rss_bytes: int

    @property
    def stopped(self) -> bool:
        return self.state in "Tt"

    @property
    def gone(self) -> bool:
        return self.state in "ZXx"


def prctl(option: int, value: int) -> bool:
    return int(_libc.prctl(option, value, 0, 0, 0)) == 0


def punch_hole(fd: int, size: int) -> bool:
    """Free the disk space of a file's first bytes; False where the file system cannot."""
    return int(_libc.fallocate(fd, _PUNCH_HOLE, 0, size)) == 0


def stat(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        raw = os.read(fd, 1024)
    except OSError:
        return None
    finally:
        os.close(fd)
    f = raw[raw.rfind(b")") + 2 :].split()  # the name in brackets may hold anything
    if len(f) < 22:
        return None
    cpu_s = (int(f[11]) + int(f[12]) + int(f[13]) + int(f[14])) / TICKS_PER_S
    return Stat(pid, f[0].decode(), int(f[1]), int(f[3]), int(f[19]), cpu_s, int(f[21]) * PAGE_BYTES)


def alive(pid: int, start: int) -> bool:
    """Is this very process (not another that got its number) there and no zombie?"""
    found = stat(pid)
    return found is not None and found.start == start and not found.gone


def pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def children(pid: int) -> list[int]:
    """Direct children, zombies included; cheap where the kernel lists them, else by looking at all."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            fd = os.open(f"/proc/{pid}/task/{task}/children", os.O_RDONLY | os.O_CLOEXEC)
            try:
                while chunk := os.read(fd, 65536):
                    found.extend(map(int, chunk.split()))
            finally:
                os.close(fd)
    except FileNotFoundError:
        if not os.path.exists("/proc/thread-self/children"):  # a kernel without the list
            return _children_by_scan(pid)
    except (OSError, ValueError):
        pass
    return found


def _children_by_scan(pid: int) -> list[int]:
    return [s.pid for s in map(stat, pids()) if s is not None and s.parent == pid]


def descendants(pid: int) -> list[Stat]:
    """All below this process that are no zombies, nearest first."""
    found: list[Stat] = []
    seen = {pid}
    level = [pid]
    while level:
        below = [c for p in level for c in children(p) if c not in seen]
        seen.update(below)
        level = below
        found.extend(s for s in map(stat, below) if s is not None and not s.gone)
    return found


def environment(pid: int) -> bytes:
    """The environment a process was started with, or nothing where it may not be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0" + file.read()
    except OSError:
        return b""


def memory_peak_bytes(pid: int) -> int:
    """VmHWM: the most resident memory since the peak was last reset."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


def proportional_bytes(pid: int) -> int:
    """Pss: resident memory with shared pages divided among those who share them; costs milliseconds."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
