"""Names of folders, and what can go wrong with them in words."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from farm.errors import FarmError


def stamp(now: float) -> str:
    """
    >>> stamp(1767225600.25)
    '2026-01-01T00-00-00Z'
    """
    return time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(now))


def free(path: Path) -> Path:
    """This path, or one like it that does not exist yet."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def files(folder: Path) -> list[Path]:
    """All files below it, in order."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def in_words(where: Path) -> Iterator[None]:
    """What fails while files are written there, as a sentence."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if "full" in str(error):
            raise FarmError(f"no space left in {where.parent}: nothing was changed") from error
        raise FarmError(f"{where} cannot be written ({error}): nothing was changed") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FarmError(f"no space left in {where.parent}: nothing was changed") from error
        why = error.strerror or os.strerror(errno.EIO)
        raise FarmError(f"{error.filename or where}: {why}; nothing was changed") from error
