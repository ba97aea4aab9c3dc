"""Looking at a worker before it is gone: where it was, what it used, what it said last."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from farm import secrets
from farm.core.job import Usage
from farm.workers import fault, proc
from farm.workers.beat import Position
from farm.workers.cell import Cell
from farm.workers.redact import Redactor
from farm.workers.verdict import Scene


@dataclass(frozen=True, slots=True)
class Found:
    position: Position
    scene: Scene


def look(cell: Cell) -> Found:
    """Of a worker that is frozen or dead."""
    position = cell.beat.position()
    root = proc.stat(cell.pid)
    cpu_s = max(cell.cpu_s, root.cpu_s if root else 0.0)
    peak = proc.memory_peak_bytes(cell.pid) if root and not root.gone else 0
    if cell.peak_nth == position.nth:
        peak = max(peak, cell.peak_bytes)
    usage = Usage(
        round(max(0.0, time.monotonic() - position.started), 6) if position.started else 0.0,
        round(max(0.0, cpu_s - position.cpu_s), 6),
        peak,
    )
    log = Redactor(_secrets(cell))(cell.last_output())
    return Found(position, Scene(cell.pid, usage, log, fault.versions(None)))


def living(cell: Cell) -> Found:
    """Of a worker that goes on, or never was."""
    return Found(cell.beat.position(), Scene(cell.pid))


def _secrets(cell: Cell) -> Iterator[str]:
    """What the worker may have known: all that can be listed, and what its options may name in a keyring."""
    home = Path(cell.seat.secrets)
    yield from secrets.values(home)
    for name in _words(json.loads(cell.launch.options)) if cell.launch else ():
        try:
            yield secrets.resolve(name.rpartition(":")[2], home=home)
        except (secrets.SecretMissing, secrets.SecretRefused):
            continue


def _words(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _words(each)
