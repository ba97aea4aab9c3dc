"""What goes into the store and what comes out: one landing is what one attempt found.

Units to extract come out as `Children`. They may be very many, so they are kept in memory up to a few
megabytes and beyond that in an unnamed file; any thread may read them, again and again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import IO, NamedTuple

import msgspec

from farm.connector import Line
from farm.core.job import RunType, Stage
from farm.lines import Malformed

CHILDREN_IN_MEMORY_BYTES = 8 * 1024 * 1024
MALFORMED_SHOWN = 20
CHUNK = 1000


class Child(NamedTuple):
    """A unit that extract has to read; payload is JSON {"data", "uri", "held"}."""

    key: str
    version: str
    payload: str


class Children:
    """The children of one discover attempt, in the order of the listing."""

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None
        self._lock = Lock()
        self._count = 0

    def extend(self, children: Iterable[Child]) -> None:
        """Append these."""
        with self._lock:
            if self._file is None:
                self._file = tempfile.SpooledTemporaryFile(CHILDREN_IN_MEMORY_BYTES)  # noqa: SIM115 lives on
            file = self._file
            file.seek(0, 2)
            for child in children:
                file.write(_encode(child) + b"\n")
                self._count += 1

    def chunks(self, size: int = CHUNK, first: int = 0) -> Iterator[list[Child]]:
        """All of them, in lists of at most this many; the first list, when so told, of at most `first`."""
        position, most = 0, min(first or size, size)
        while (file := self._file) is not None:
            with self._lock:
                file.seek(position)
                chunk = [_decode(line) for line in islice(file, most)]
                position, most = file.tell(), size
            if not chunk:
                return
            yield chunk

    def __iter__(self) -> Iterator[Child]:
        for chunk in self.chunks():
            yield from chunk

    def __len__(self) -> int:
        return self._count

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Child).decode


@dataclass(frozen=True, slots=True)
class Landing:
    """What one attempt found. `lines` is read once, while landing, and may be larger than memory.

    An extract lands even without lines: its unit then has no documents.
    """

    source: str
    job_id: int
    attempt_id: int
    stage: Stage
    lines: Iterable[Line | Malformed]
    key: str = ""
    """EXTRACT: the unit's key, and below its version and where a person finds it."""
    version: str = ""
    uri: str = ""
    started_at: float = 0.0
    """Unix time at which the attempt began: what is known to exist since is not gone."""
    run_type: RunType = RunType.INCREMENTAL


@dataclass(frozen=True, slots=True)
class Landed:
    """What came of it. Documents and records are counted together; a move counts units, rejected lines."""

    job_id: int
    attempt_id: int
    new: int = 0
    changed: int = 0
    deleted: int = 0
    unchanged: int = 0
    rejected: int = 0
    moved: int = 0
    children: Children = field(default_factory=Children)
    complete: bool = False
    unread: list[str] = field(default_factory=list)
    """Of a complete listing: how the keys begin of which it knows nothing."""
    stale: bool = False
    """A later attempt had landed this unit before: nothing was written."""
    repeated: bool = False
    """This attempt had landed before: nothing was written, the counts are those of then."""
    malformed: list[str] = field(default_factory=list)
    """The first rejected lines, a sentence with the line's number each."""
