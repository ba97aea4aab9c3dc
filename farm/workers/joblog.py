"""A cell's log: what the worker and its children write to standard output and error, the current job's only.

It is a plain file, so that neither a program that floods it nor a worker that holds the GIL can block on
it. The worker empties it when a job starts; the farm frees its space when it grows, but for the last lines.
"""

from __future__ import annotations

import os
import sys

from farm.workers import proc

MAX_BYTES = 1024 * 1024
KEPT_BYTES = 8 * 1024


def restart() -> None:
    """In the worker, before a job."""
    if os.lseek(2, 0, os.SEEK_END):
        os.ftruncate(2, 0)


def tail() -> str:
    """In the worker: the job's last lines so far."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    return read_tail(2)


def read_tail(fd: int, most: int = KEPT_BYTES) -> str:
    """The last lines in the file behind this descriptor."""
    try:
        size = os.fstat(fd).st_size
        raw = os.pread(fd, most, max(0, size - most))
    except OSError:
        return ""
    if size > most:
        raw = raw[raw.find(b"\n") + 1 :]
    return raw.decode("utf-8", "replace").replace("\0", "")


def cut(fd: int, done: int) -> int:
    """In the farm: give back the disk space of all but the last lines; returns up to where that is done.

    A hole is punched rather than the file shortened: whoever is writing to it loses no line by that. `done`
    is what the last call returned.
    """
    size = os.fstat(fd).st_size
    done = min(done, size)  # the worker empties the file
    if size - done <= MAX_BYTES:
        return done
    if not proc.punch_hole(fd, size - KEPT_BYTES):  # a file system that has no holes
        os.ftruncate(fd, 0)
        return 0
    return size - KEPT_BYTES
