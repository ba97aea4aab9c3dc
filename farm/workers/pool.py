"""The pool of cells: launch, poll, kill, drain. Nothing above it knows of processes.

Each launch given to `launch` comes back exactly once from `poll`, whatever becomes of its worker.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from farm.core.job import Finished, Launch, Outcome
from farm.workers import reaper, spool
from farm.workers.cell import Cell, CellState
from farm.workers.crew import SMALL_BYTES, Crew, NoCell
from farm.workers.verdict import Cause

__all__ = ["CellFacts", "NoCell", "Pool"]

log = logging.getLogger("farm.workers")

IDLE_S = 60.0
"""An idle cell is kept this long; the last one stays."""
BEGIN_S = 10.0
"""A worker that has not begun its launch by then never will."""


@dataclass(frozen=True, slots=True)
class CellFacts:
    """What a cell is doing right now."""

    number: int
    pid: int
    state: str
    connector: str
    source: str
    launch_id: int | None
    job_id: int | None
    job_started: float | None
    """CLOCK_MONOTONIC, seconds."""
    done: int
    total: int | None
    message: str
    memory_bytes: int


class Pool:
    """Up to `cells` worker processes.

    `secrets` is the state folder whose secrets the workers may ask for, where it is not `home`.
    `wake` is called, from any thread, when `poll` has something. `instance` names this life of the farm.
    One pool at a time in a process: to it, every child in a session of its own is an orphan of a worker.
    """

    def __init__(
        self,
        home: Path,
        *,
        cells: int,
        instance: str,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        spool_max_bytes: int = spool.MAX_BYTES,
        idle_s: float = IDLE_S,
        begin_s: float = BEGIN_S,
        secrets: Path | None = None,
    ) -> None:
        self.home = home.absolute()
        self._crew = Crew(
            self.home,
            most=cells,
            instance=instance,
            wake=wake,
            clock=clock,
            spool_max_bytes=spool_max_bytes,
            idle_s=idle_s,
            begin_s=begin_s,
            secrets=(secrets or home).absolute(),
        )
        self._lock = self._crew.lock

    def start(self) -> None:
        """End what an earlier farm left here, then make one cell warm."""
        global _open
        if _open is not None:
            raise RuntimeError("this process has a pool already")
        _open = self
        for name in ("spool", "beat", "scratch"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        if swept := reaper.sweep(str(self.home)):
            log.warning("reaper.swept processes=%d", swept)
        for path in (self.home / "beat").iterdir():
            path.unlink(missing_ok=True)
        self._crew.open()

    def close(self) -> None:
        """End everything; what still ran is interrupted, and `poll` still has it."""
        global _open
        if _open is self:
            self._crew.close()
            _open = None

    def resize(self, cells: int) -> None:
        """From now on at most so many; of more that there are, the idle ones go as they always do."""
        with self._lock:
            self._crew.most = cells

    def launch(self, launch: Launch) -> int:
        """Give a cell this work and return the cell's number; never blocks. Raises NoCell."""
        with self._lock:
            if not self._crew.running:
                raise NoCell("the pool is closed")
            cell = self._suitable(launch) or self._crew.make(launch)
            cell.launch, cell.connector, cell.source = launch, launch.connector, launch.source
            cell.skips, cell.stop_asked, cell.peak_bytes, cell.peak_nth = {}, False, 0, -1
            if cell.state is CellState.IDLE:
                self._crew.send(cell, launch)
            return cell.number

    def poll(self) -> list[Finished]:
        """The launches that are over, each once."""
        with self._lock:
            found = list(self._crew.over)
            self._crew.over.clear()
            return found

    def kill(self, launch_id: int, outcome: Outcome, message: str, job_id: int | None = None) -> None:
        """End a launch's tree; the job it is on gets this outcome.

        With a job id: that job gets it. One that has not begun is left out, and the launch goes on; one that
        has ended stays as it is.
        """
        with self._lock:
            cell = self._cell_of(launch_id)
            if cell is None or cell.launch is None:
                return
            if job_id is not None:
                nth = next((i for i, job in enumerate(cell.launch.jobs) if job.job_id == job_id), None)
                if nth is None:
                    return
                cell.skips[job_id] = (outcome, message)
                position = cell.beat.position()
                on_it = position.launch_id == launch_id and position.nth == nth
                if cell.beat.skip(nth) and not on_it:
                    return  # the watch ends it should it have begun meanwhile
            self._crew.end(cell, Cause(outcome, message, job_id=job_id, signal=9))

    def ask_stop(self, launch_id: int | None) -> None:
        """Ask one launch, or all, to come to an early end."""
        with self._lock:
            for cell in self._crew.cells.values():
                if cell.launch is not None and launch_id in (None, cell.launch.id):
                    cell.stop_asked = True
                    cell.beat.ask_stop()

    def drain(self, grace_s: float) -> None:
        """Ask all to stop, give them time, end the rest as interrupted. Returns when nothing runs."""
        self.ask_stop(None)
        with self._lock:
            self._lock.wait_for(lambda: not self._launches(), grace_s)
            for launch_id in self._launches():
                self.kill(launch_id, Outcome.INTERRUPTED, "the farm is stopping")
            self._lock.wait_for(lambda: not self._launches(), reaper.PATIENCE_S)

    def facts(self) -> list[CellFacts]:
        """What each cell is doing."""
        with self._lock:
            return [_facts(cell) for _, cell in sorted(self._crew.cells.items())]

    @property
    def guard_pid(self) -> int:
        """The process that ends everything should the farm die; zero when there is none."""
        return self._crew.guard.pid if self._crew.guard is not None else 0

    def _suitable(self, launch: Launch) -> Cell | None:
        """The idle cell that suits best, if one does; else one that is being built for nobody yet."""
        all_cells = list(self._crew.cells.values())
        idle = [c for c in all_cells if c.state is CellState.IDLE]
        fit = [c for c in idle if _suits(c, launch)]
        if fit:
            return max(fit, key=lambda c: (_kinship(c, launch), -c.number))
        for cell in all_cells:
            if cell.state is CellState.BUILDING and cell.launch is None and cell.cause is None:
                return cell
        if idle and len(all_cells) >= self._crew.most:
            self._crew.retire(idle[0])
        return None

    def _cell_of(self, launch_id: int) -> Cell | None:
        found = (c for c in self._crew.cells.values() if c.launch is not None and c.launch.id == launch_id)
        return next(found, None)

    def _launches(self) -> list[int]:
        return [c.launch.id for c in self._crew.cells.values() if c.launch is not None]


def _suits(cell: Cell, launch: Launch) -> bool:
    """A process that has grown fat, or nicer than we may undo, is not for this launch."""
    slim = cell.memory_bytes <= max(launch.limits.memory_bytes // 2, SMALL_BYTES)
    return slim and (cell.nice <= launch.limits.nice or os.geteuid() == 0)


def _kinship(cell: Cell, launch: Launch) -> int:
    """Warm for this source, for its connector, for nothing yet, for something else."""
    if cell.connector == launch.connector:
        return 3 if cell.source == launch.source else 2
    return 0 if cell.connector else 1


def _facts(cell: Cell) -> CellFacts:
    launch, position, sign = cell.launch, None, None
    if launch is not None and cell.state is not CellState.BUILDING:
        position, sign = cell.beat.position(), cell.beat.last_sign()
        if position.launch_id != launch.id or position.nth < 0:
            position = None
    return CellFacts(
        number=cell.number,
        pid=cell.pid,
        state=cell.state,
        connector=cell.connector,
        source=cell.source,
        launch_id=launch.id if launch else None,
        job_id=launch.jobs[position.nth].job_id if launch and position else None,
        job_started=position.started if position else None,
        done=sign.done if sign else 0,
        total=sign.total if sign else None,
        message=sign.message if sign else "",
        memory_bytes=cell.tree_bytes if launch else cell.memory_bytes,
    )


_open: Pool | None = None
