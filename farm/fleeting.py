"""Temporary folders that do not outlive the process that works in them, however it ends.

A folder is locked for as long as it is used; whoever makes the next one, and every farm at its start, removes
those that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIXES = ("farm-trial-", "farm-check-")
YOUNG_S = 60.0
"""A folder this young may not be locked yet."""


@contextmanager
def folder(prefix: str) -> Iterator[Path]:
    """A new folder in the place for temporary files, removed at the end; `prefix` is one of PREFIXES."""
    sweep()
    path = Path(tempfile.mkdtemp(prefix=prefix))
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def sweep() -> None:
    """Remove what processes of this user left that were killed."""
    place = Path(tempfile.gettempdir())
    for prefix in PREFIXES:
        for path in place.glob(f"{prefix}*"):
            if _is_left(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_left(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(fd)
        if found.st_uid != os.geteuid() or time.time() - found.st_mtime < YOUNG_S:
            return False
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)
