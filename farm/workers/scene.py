"""Looking at a worker before it is gone: where it was, what it used, what it said last."""

from __future__ import annotations

import time
from dataclasses import dataclass

from farm.core.job import Usage
from farm.workers import fault, proc
from farm.workers.beat import Position
from farm.workers.cell import Cell
from farm.workers.redact import Redactor, in_environment
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
    log = Redactor(in_environment().values())(cell.last_output())
    return Found(position, Scene(cell.pid, usage, log, fault.versions(None)))


def living(cell: Cell) -> Found:
    """Of a worker that goes on, or never was."""
    return Found(cell.beat.position(), Scene(cell.pid))
