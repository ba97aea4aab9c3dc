"""A cell: one pebble pool of one worker process, with its own pipe, session and heartbeat page.

Rules that keep one cell's trouble its own:
- a pebble pool is never shared and never mended: a process that dies takes its pool along;
- a pool starts one process, ever: pebble would start the next one itself, on locks the dead one may hold;
- pebble's own timeouts (wall clock, SIGTERM first) are never used;
- what goes over the pipe is smaller than the pipe, so neither side can block on a dead partner.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from enum import StrEnum
from multiprocessing import connection, popen_forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pebble

from farm.core.job import Launch, Outcome
from farm.workers import joblog, nursery, proc, reaper
from farm.workers.beat import Beat
from farm.workers.seat import Seat
from farm.workers.verdict import Cause

log = logging.getLogger("farm.workers")

PEBBLE_POLL_S = 0.5
"""How often pebble's threads look around. Ends are seen by ourselves at once, so this only costs."""

pebble.CONSTS.sleep_unit = PEBBLE_POLL_S


class CellState(StrEnum):
    BUILDING = "building"
    IDLE = "idle"
    BUSY = "busy"
    ANSWERED = "answered"
    """Its launch is over and being put together."""
    ENDING = "ending"


class _Popen(popen_forkserver.Popen):
    """Pebble's threads and ours ask for the exit code; reading it from the pipe twice would lose it."""

    def __init__(self, process_obj: Any) -> None:
        self._reading = threading.Lock()
        super().__init__(process_obj)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        if flag != os.WNOHANG and self.returncode is None:
            connection.wait([self.sentinel])
        with self._reading:
            code: int | None = super().poll(os.WNOHANG)
        return code


class _Process(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:
        return _Popen(process_obj)


class _OneLife(ForkServerContext):
    """A multiprocessing context that starts one process, and shows it."""

    process: _Process | None = None

    def Process(self, *args: Any, **kwargs: Any) -> _Process:  # type: ignore[override]
        if self.process is not None:
            raise OSError("a cell lives once")  # pebble takes this as a broken pool, which it is
        self.process = _Process(*args, **kwargs)
        return self.process


@dataclass(slots=True, eq=False)
class Cell:
    """One life of a cell. The pool's lock guards everything that changes."""

    seat: Seat
    state: CellState = CellState.BUILDING
    launch: Launch | None = None
    cause: Cause | None = None
    """Why it is to end, when that was said while it was being built or its launch put together."""
    connector: str = ""
    source: str = ""
    nice: int = 0
    pid: int = 0
    start: int = 0
    since: float = 0.0
    """When its state began, by the pool's clock."""
    stuck: bool = False
    """The fork server was ended once already for its sake."""
    memory_bytes: int = 0
    log_cut: int = 0
    tree_bytes: int = 0
    peak_bytes: int = 0
    """Highest sample of the tree during the job at `peak_nth`."""
    peak_nth: int = -1
    cpu_s: float = 0.0
    """Newest sample of what the tree has used."""
    skips: dict[int, tuple[Outcome, str]] = field(default_factory=dict)
    stop_asked: bool = False
    beat: Beat = field(init=False)
    log_fd: int = field(init=False)
    _context: _OneLife = field(init=False)
    _pebble: pebble.ProcessPool = field(init=False)

    def __post_init__(self) -> None:
        self.beat = Beat(self.seat.beat, create=True)
        self.log_fd = os.open(self.seat.log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def number(self) -> int:
        return self.seat.cell

    @property
    def sentinel(self) -> int:
        """A descriptor that becomes readable when the process has ended."""
        assert self._context.process is not None
        return self._context.process.sentinel

    def build(self) -> None:
        """Start the process; 5 to 20 ms. Raises OSError when it cannot be started."""
        from farm.workers.worker import begin

        self.seat = replace(self.seat, forkserver_pid=nursery.start(self.seat.marker))
        self._context = _OneLife()
        self._pebble = pebble.ProcessPool(
            max_workers=1, initializer=begin, initargs=(self.seat,), context=self._context
        )
        with nursery.starting():
            active = self._pebble.active  # this is what starts it
        process = self._context.process
        if process is None or process.pid is None or not active:
            raise OSError("the worker process could not be started")
        self.pid = process.pid
        found = proc.stat(self.pid)
        self.start = found.start if found else 0
        self.beat.own(self.pid, self.start)

    def schedule(self, raw: bytes) -> Future[bytes]:
        """Send a launch; raises RuntimeError when pebble's pool is broken."""
        from farm.workers.worker import run_launch

        future: Future[bytes] = self._pebble.schedule(run_launch, args=(raw,))
        return future

    def halt(self) -> None:
        """Tell pebble that its work is over, so that it takes no step of its own when the process dies."""
        if hasattr(self, "_pebble"):
            self._pebble.stop()  # type: ignore[no-untyped-call]

    def exit_code(self) -> int | None:
        """As multiprocessing has it: negative for a signal, None while it lives."""
        process = self._context.process if hasattr(self, "_context") else None
        return None if process is None else process.exitcode

    def dispose(self) -> None:
        """Give back everything of a dead cell: threads, pipes, semaphores, files. Takes a second; no hurry."""
        if hasattr(self, "_pebble"):
            self._pebble.stop()  # type: ignore[no-untyped-call]
            # Pebble closes its pipes while a thread of its own may be about to read them: let it leave first.
            time.sleep(PEBBLE_POLL_S * 1.2)
            with contextlib.suppress(RuntimeError, OSError):
                self._pebble.join()
            if self._context.process is not None:
                with contextlib.suppress(ValueError):
                    self._context.process.close()
        os.close(self.log_fd)
        self.beat.close()
        for path in (self.seat.beat, self.seat.log):
            Path(path).unlink(missing_ok=True)
        shutil.rmtree(self.seat.scratch, ignore_errors=True)

    def kill(self) -> bool:
        """End the process and its tree; True when nothing of it is left."""
        return self.pid == 0 or reaper.kill_tree(self.pid, self.start)

    def last_output(self) -> str:
        return joblog.read_tail(self.log_fd)
