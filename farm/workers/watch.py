"""The watch: one thread that sees workers die, and ends those past their limits.

While nothing runs it sleeps without a timeout. Deadlines are on CLOCK_MONOTONIC, and count only the time
that the watch itself was awake: a farm that was stopped as a whole (SIGSTOP, a debugger, a frozen virtual
machine) must not find all its jobs late.
"""

from __future__ import annotations

import logging
import os
import select
from typing import TYPE_CHECKING

from farm import shortage
from farm.core.job import Outcome
from farm.workers import joblog, meter, nursery
from farm.workers.beat import Position
from farm.workers.cell import Cell, CellState
from farm.workers.verdict import Cause

if TYPE_CHECKING:
    from farm.workers.crew import Crew

log = logging.getLogger("farm.workers")

TICK_S = 0.1
OVERSLEPT_S = 1.0
BUILD_FACTOR = 3
NO_WORKERS = (
    "no worker process gets started, not even by a new fork server: the farm has ended, nothing is lost;"
    " look at the machine's memory and processes, then start it again"
)
"""The first cell waits for the fork server's imports, on a cold disk and a busy machine."""


class Watch:
    """Of one pool."""

    def __init__(self, crew: Crew, begin_s: float) -> None:
        self._crew = crew
        self._begin_s = begin_s
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._cells: dict[int, Cell] = {}
        self._guard_fd: int | None = None
        self._lost: list[tuple[float, float]] = []
        self._asleep = True
        self._closed = False
        self._thread = shortage.Thread(self._run, name="watch")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        os.eventfd_write(self._wake, 1)
        if self._thread.ident is not None:
            self._thread.join()
        if self._guard_fd is not None:
            os.close(self._guard_fd)
        self._epoll.close()
        os.close(self._wake)

    def nudge(self) -> None:
        """Something may run now: look again."""
        if self._asleep:
            os.eventfd_write(self._wake, 1)

    def add(self, cell: Cell) -> None:
        self._cells[cell.sentinel] = cell
        self._epoll.register(cell.sentinel, select.EPOLLIN)

    def remove(self, cell: Cell) -> None:
        """Before the cell's descriptors are closed."""
        with self._crew.lock:
            for fd, known in list(self._cells.items()):
                if known is cell:
                    del self._cells[fd]
                    self._epoll.unregister(fd)

    def guard(self, pid: int) -> None:
        """Watch the guard too."""
        if hasattr(os, "pidfd_open"):
            try:
                self._guard_fd = os.pidfd_open(pid)
            except OSError:
                return
            self._epoll.register(self._guard_fd, select.EPOLLIN)

    def _run(self) -> None:
        wait_s: float | None = None
        while not self._closed:
            before = self._crew.clock()
            events = self._epoll.poll(wait_s)
            now = self._crew.clock()
            if wait_s is not None and now - before - wait_s > OVERSLEPT_S:
                self._lost = [*self._lost[-20:], (now, now - before - wait_s)]
                log.warning("watch.overslept lost_s=%.1f", now - before - wait_s)
            try:
                self._see([fd for fd, _ in events])
                wait_s = self._tick(self._crew.clock())
            except Exception as error:
                shortage.end_if_memory(error)
                log.exception("watch.failed")
                wait_s = TICK_S

    def _see(self, fds: list[int]) -> None:
        for fd in fds:
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif fd == self._guard_fd:
                self._epoll.unregister(fd)
                os.close(fd)
                self._guard_fd = None
                self._crew.guard_died()
            elif cell := self._cells.get(fd):
                self._crew.died(cell)

    def _tick(self, now: float) -> float | None:
        """Look at every cell at work; returns the seconds until the next look."""
        self._asleep = True  # before looking: who sets to work after this nudges us
        next_s = None
        for cell in list(self._crew.cells.values()):
            if cell.state is CellState.BUSY:
                next_s = min(self._look(cell, now), TICK_S if next_s is None else next_s)
            elif cell.state is CellState.BUILDING:
                next_s = min(self._await(cell, now), TICK_S if next_s is None else next_s)
        if next_s is not None:
            return max(0.001, next_s)
        self._lost.clear()
        return self._crew.retire_idle()

    def _await(self, cell: Cell, now: float) -> float:
        """A fork server that does not answer holds up every new cell: end it, the next one starts another.

        Where even that is of no help, it is the farm that hangs.
        """
        if now - cell.since - self._lost_since(cell.since) > BUILD_FACTOR * self._begin_s:
            log.error("forkserver.stuck cell=%d", cell.number)
            if cell.stuck:
                shortage.end(NO_WORKERS)
            nursery.kill()
            cell.since, cell.stuck = now, True
        return TICK_S

    def _look(self, cell: Cell, now: float) -> float:
        launch = cell.launch
        if launch is None:
            return TICK_S
        position = cell.beat.position()
        if position.launch_id != launch.id or position.nth < 0:
            if now - cell.since - self._lost_since(cell.since) > self._begin_s:
                self._end(cell, position, Cause(Outcome.CRASHED, "the worker did not begin its launch"))
            return TICK_S
        limits = launch.limits
        lost_s = self._lost_since(position.started)
        left_s = position.started + limits.timeout_s + lost_s - now
        if left_s <= 0:
            message = f"it ran longer than its {limits.timeout_s:g} s"
            self._end(cell, position, Cause(Outcome.TIMED_OUT, message, signal=9))
            return TICK_S
        if limits.stall_s > 0:
            sign = max(position.started, cell.beat.last_sign().at)
            calm_s = sign + limits.stall_s + self._lost_since(sign) - now
            if calm_s <= 0:
                message = f"no sign of life for {limits.stall_s:g} s"
                self._end(cell, position, Cause(Outcome.STALLED, message, signal=9))
                return TICK_S
            left_s = min(left_s, calm_s)
        job_id = launch.jobs[position.nth].job_id
        if job_id in cell.skips:
            outcome, message = cell.skips[job_id]
            self._end(cell, position, Cause(outcome, message, job_id=job_id, signal=9))
            return TICK_S
        self._weigh(cell, position, limits.memory_bytes)
        cell.log_cut = joblog.cut(cell.log_fd, cell.log_cut)
        return left_s

    def _weigh(self, cell: Cell, position: Position, cap_bytes: int) -> None:
        tree = meter.weigh(cell.pid, cap_bytes)
        if tree is None:
            return
        if cell.peak_nth != position.nth:
            cell.peak_nth, cell.peak_bytes = position.nth, 0
        cell.tree_bytes, cell.cpu_s = tree.memory_bytes, tree.cpu_s
        cell.peak_bytes = max(cell.peak_bytes, tree.memory_bytes)
        cell.beat.note_tree(tree.below)
        if 0 < cap_bytes < tree.memory_bytes:
            message = f"it held {tree.memory_bytes:,} bytes of memory; its cap is {cap_bytes:,}"
            self._end(cell, position, Cause(Outcome.OUT_OF_MEMORY, message, signal=9))

    def _end(self, cell: Cell, position: Position, cause: Cause) -> None:
        """Unless the job ended while we looked."""
        with self._crew.lock:
            now_at = cell.beat.position()
            if (now_at.launch_id, now_at.nth) == (position.launch_id, position.nth):
                self._crew.end(cell, cause)

    def _lost_since(self, moment: float) -> float:
        return sum(lost for at, lost in self._lost if at > moment)
