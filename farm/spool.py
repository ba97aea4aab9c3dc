"""Reading a launch's spool: the lines that one job wrote, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from farm.connector import Line
from farm.lines import Malformed, decode


def path_of(home: Path, launch_id: int) -> Path:
    return home / "spool" / f"{launch_id}.jsonl"


def read(path: Path, start: int, end: int) -> Iterator[Line | Malformed]:
    """The lines between these byte offsets."""
    if end <= start:
        return
    with path.open("rb") as file:
        file.seek(start)
        left = end - start
        for raw in file:
            left -= len(raw)
            if left < 0:
                return
            yield decode(raw)
