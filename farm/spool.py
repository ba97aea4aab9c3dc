"""Reading a launch's spool: the lines that one job wrote, streamed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from farm.connector import Line
from farm.lines import Malformed, decode, decode_all

AT_ONCE_BYTES = 256 * 1024
"""What is no longer is read by one call, which takes a third of the time of a file object for a small document."""


@dataclass(frozen=True, slots=True)
class Part:
    """The lines between these byte offsets, which are ends of lines. They can be read again and again."""

    path: Path
    start: int
    end: int

    def __iter__(self) -> Iterator[Line | Malformed]:
        return read(self.path, self.start, self.end)


def path_of(home: Path, launch_id: int) -> Path:
    return home / "spool" / f"{launch_id}.jsonl"


@contextmanager
def at_hand() -> Iterator[None]:
    """Inside, this thread keeps the spool that it read last open, as the next part may be of it, too."""
    with closing(_Kept()) as _reading.kept:
        try:
            yield
        finally:
            _reading.kept = None


def read(path: Path, start: int, end: int) -> Iterator[Line | Malformed]:
    """The lines between these byte offsets, which are ends of lines."""
    if end - start > AT_ONCE_BYTES:
        yield from _stream(path, start, end)
    elif end > start:
        if (kept := _reading.kept) is not None:
            part = os.pread(kept.file(path), end - start, start)
        else:
            with closing(_Kept()) as kept:
                part = os.pread(kept.file(path), end - start, start)
        yield from decode_all(part)


class _Kept:
    """The spool that was asked for last, open."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._fd = -1

    def file(self, path: Path) -> int:
        """Its descriptor. All parts of a launch have the same Path, which saves comparing them."""
        if path is not self._path:
            self.close()
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._path = path
        return self._fd

    def close(self) -> None:
        if self._path is not None:
            self._path = None
            os.close(self._fd)


class _Reading(threading.local):
    kept: _Kept | None = None


_reading = _Reading()


def _stream(path: Path, start: int, end: int) -> Iterator[Line | Malformed]:
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        for raw in file:
            left -= len(raw)
            if left < 0:
                return
            yield decode(raw)
