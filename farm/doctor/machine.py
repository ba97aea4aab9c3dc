"""State folder, disk and guards: what protects the farm here, and what this machine does not offer.

A guard that is off is a note, not a fault: the farm runs without it.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from farm import machine, swap
from farm.doctor.finding import Finding, judged
from farm.home import LEDGER, STORE
from farm.words import plural, size
from farm.workers import proc

LEAST_FREE_BYTES = 128 * 1024 * 1024
"""Below this the write-ahead logs alone may fill the disk."""
FIXED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))
"""SQLite versions that have the WAL-reset bug fixed: the newest, and its branches."""


def folder(home: Path) -> Iterator[Finding]:
    """Who may read it, and how much room is left."""
    expected = [(home, 0o700), (home / "farm.sock", 0o600)]
    expected += [(home / f"{db}{end}", 0o600) for db in (LEDGER, STORE) for end in ("", "-wal", "-shm")]
    wrong = []
    for path, mode in expected:
        try:
            found = path.stat()
        except FileNotFoundError:
            continue
        if found.st_mode & 0o777 != mode:
            wrong.append(f"{path} has mode {found.st_mode & 0o777:04o}, not {mode:04o} (chmod {mode:o})")
        if found.st_uid != os.geteuid() and os.geteuid() != 0:
            wrong.append(f"{path} belongs to user {found.st_uid}")
    yield judged("the state folder is private", wrong)
    free = shutil.disk_usage(home).free
    yield Finding("there is room on the disk", free >= LEAST_FREE_BYTES, f"{size(free)} free")
    if swap.is_pending(home):
        yield Finding("restore", True, "one was cut short: whatever opens the farm next completes it")


def sqlite_version(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> Finding:
    """
    >>> sqlite_version((3, 50, 7)).detail
    '3.50.7'
    """
    text = ".".join(map(str, version))
    fixed = version >= FIXED[0] or any(version[:2] == each[:2] and version >= each for each in FIXED)
    note = "" if fixed else " has the WAL-reset bug, which needs two writers of one file; the farm has one"
    return Finding("sqlite", True, text + note)


def guards() -> Iterator[Finding]:
    """Each guard, and what is lost where the machine lacks it."""
    for name, on, off in (
        ("guard: memory limit", _cgroup(), "no cgroup limit: the budget follows the memory that is free"),
        (
            "guard: watching folders",
            _inotify(),
            "inotify has no room: watched folders are listed now and then",
        ),
        (
            "guard: marks of processes",
            _readable_environment(),
            "/proc/PID/environ cannot be read: what a dead farm left is only found by its pages",
        ),
        (
            "guard: peak memory of a job",
            _resets_peak(),
            "/proc/self/clear_refs cannot be written: a job is measured with its cell's earlier peak",
        ),
        (
            "guard: memory of a job",
            _limits_data(),
            "RLIMIT_DATA cannot be set: a job that takes too much is killed instead of getting MemoryError",
        ),
        (
            "guard: orphans",
            _adopts(),
            "the process cannot adopt orphans: those of a killed job are found by their marks only",
        ),
        ("guard: memory pressure", _pressure(), "no /proc/pressure: only free memory tells of pressure"),
    ):
        yield Finding(name, True, on or f"off: {off}")


def _cgroup() -> str:
    for most, _ in machine._memory_files():
        try:
            text = most.read_text().strip()
        except OSError:
            continue
        if text.isdigit() and int(text) < 1 << 60:
            return f"on: {size(int(text))} by cgroup"
    return ""


def _inotify() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_CLOEXEC)
    if fd < 0:
        return ""
    os.close(fd)
    try:
        most = int(Path("/proc/sys/fs/inotify/max_user_watches").read_text())
    except (OSError, ValueError):
        return "on"
    return f"on: up to {plural(most, 'folder')}"


def _readable_environment() -> str:
    return "on" if len(proc.environment(os.getpid())) > 1 else ""


def _resets_peak() -> str:
    try:
        Path("/proc/self/clear_refs").write_bytes(b"5")
    except OSError:
        return ""
    return "on"


def _limits_data() -> str:
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
    except (ValueError, OSError):
        return ""
    return "on" if limits[1] == resource.RLIM_INFINITY else f"on: at most {size(limits[1])}"


def _adopts() -> str:
    held = ctypes.c_int()
    libc = ctypes.CDLL(None)
    return "on" if libc.prctl(37, ctypes.byref(held), 0, 0, 0) == 0 else ""  # PR_GET_CHILD_SUBREAPER


def _pressure() -> str:
    return "on" if os.access("/proc/pressure/memory", os.R_OK) else ""
