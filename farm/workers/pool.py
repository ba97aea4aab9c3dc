"""The pool of cells: launch, poll, kill, drain. Nothing above it knows of processes.

Each launch given to `launch` comes back exactly once from `poll`, whatever becomes of its worker. What is
slow (starting a process, ending a tree, taking a cell apart) runs in a thread of its own, so that no
launch waits for another one's end.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import msgspec

from farm.core.job import Finished, Launch, Outcome, Reason
from farm.errors import FarmError
from farm.workers import cell as cells
from farm.workers import proc, reaper, scene, spool
from farm.workers.cell import Cell, CellState
from farm.workers.guard import Guard
from farm.workers.seat import Seat
from farm.workers.verdict import UNREPORTED, Cause, crashed, finished
from farm.workers.watch import Watch
from farm.workers.worker import INLINE_BYTES, Envelope

log = logging.getLogger("farm.workers")

IDLE_S = 60.0
"""An idle cell is kept this long; the last one stays."""
BEGIN_S = 10.0
"""A worker that has not begun its launch by then never will."""
SMALL_BYTES = 64 * 1024 * 1024
"""A worker this small is never too fat for a job."""
STILLBORN_MOST = 3
"""So many workers in a row that died before they began: then the launch is to blame, and does not return."""


class NoCell(FarmError):
    """All cells are taken."""

    def __init__(self) -> None:
        super().__init__("all cells are taken")


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

    `wake` is called, from any thread, when `poll` has something. `instance` names this life of the farm.
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
    ) -> None:
        self.home = home.absolute()
        self.most = cells
        self.instance = instance
        self.wake = wake
        self.clock = clock
        self.spool_max_bytes = spool_max_bytes
        self.idle_s = idle_s
        self.begin_s = begin_s
        self.lock = threading.Condition(threading.RLock())
        self.cells: dict[int, Cell] = {}
        self._finished: deque[Finished] = deque()
        self._hands: set[threading.Thread] = set()
        self._generation = 0
        self._stillborn = 0
        self._running = False
        self._closing = False
        self._guard: Guard | None = None
        self._since = 0

    # What the dispatcher calls

    def start(self) -> None:
        """End what an earlier farm left here, then make one cell warm.

        One pool at a time in a process: to it, every child in a session of its own is an orphan of a worker.
        """
        global _open
        if _open is not None:
            raise RuntimeError("this process has a pool already")
        _open = self
        for name in ("spool", "beat", "scratch"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        swept = reaper.sweep(str(self.home))
        if swept:
            log.warning("reaper.swept processes=%d", swept)
        for path in (self.home / "beat").iterdir():
            path.unlink(missing_ok=True)
        proc.prctl(proc.PR_SET_CHILD_SUBREAPER, 1)
        own = proc.stat(os.getpid())
        self._since = own.start if own else 0
        cells.start_forkserver(f"{reaper.mark_of(str(self.home))}.{self.instance}:0")
        self._guard = Guard(self.home, cells.forkserver_alive_fd())
        self._running = True
        self.watch = Watch(self)
        self.watch.guard(self._guard.pid)
        self.watch.start()
        with self.lock:
            self._keep_one_warm()

    def launch(self, launch: Launch) -> int:
        """Give a cell this work and return the cell's number; never blocks. Raises NoCell."""
        with self.lock:
            if not self._running:
                raise NoCell
            cell = self._warm_cell(launch)
            if cell is None:
                cell = self._new_cell(launch)
            cell.launch, cell.connector, cell.source = launch, launch.connector, launch.source
            cell.skips, cell.stop_asked, cell.peak_bytes, cell.peak_index = {}, False, 0, -1
            if cell.state is CellState.IDLE:
                self._send(cell)
            return cell.number

    def poll(self) -> list[Finished]:
        """The launches that are over, each once."""
        with self.lock:
            found = list(self._finished)
            self._finished.clear()
            return found

    def kill(self, launch_id: int, outcome: Outcome, message: str, job_id: int | None = None) -> None:
        """End a launch's tree; the job it is on gets this outcome.

        With a job id: that job gets it. One that has not begun is left out, and the launch goes on; one that
        has ended stays as it is.
        """
        with self.lock:
            cell = self._cell_of(launch_id)
            if cell is None or cell.launch is None:
                return
            if job_id is not None:
                index = next((i for i, job in enumerate(cell.launch.jobs) if job.job_id == job_id), None)
                if index is None:
                    return
                cell.skips[job_id] = (outcome, message)
                if cell.beat.skip(index) and cell.state is not CellState.ENDING:
                    position = cell.beat.position()
                    if position.launch_id != launch_id or position.nth != index:
                        return  # the watch ends it should it have begun meanwhile
            self.end(cell, Cause(outcome, message, job_id=job_id))

    def ask_stop(self, launch_id: int | None) -> None:
        """Ask one launch, or all, to come to an early end."""
        with self.lock:
            for cell in self.cells.values():
                if cell.launch is not None and launch_id in (None, cell.launch.id):
                    cell.stop_asked = True
                    cell.beat.ask_stop()

    def drain(self, grace_s: float) -> None:
        """Ask all to stop, give them time, end the rest as interrupted. Returns when nothing runs."""
        self.ask_stop(None)
        with self.lock:
            self.lock.wait_for(lambda: not self._launches(), grace_s)
            for launch_id in self._launches():
                self.kill(launch_id, Outcome.INTERRUPTED, "the farm is stopping")
            self.lock.wait_for(lambda: not self._launches(), reaper.PATIENCE_S)

    def facts(self) -> list[CellFacts]:
        """What each cell is doing."""
        with self.lock:
            return [self._facts(cell) for _, cell in sorted(self.cells.items())]

    @property
    def guard_pid(self) -> int:
        """The process that ends everything should the farm die; zero when there is none."""
        return self._guard.pid if self._guard is not None else 0

    def close(self) -> None:
        """End everything; what still ran is interrupted, and `poll` still has it."""
        if not self._running:
            return
        with self.lock:
            self._running, self._closing = False, True
            for cell in list(self.cells.values()):
                self.end(cell, Cause(Outcome.INTERRUPTED, "the farm is stopping"))
            self.lock.wait_for(lambda: not self.cells, reaper.PATIENCE_S)
        while hands := list(self._hands):
            for hand in hands:
                hand.join(reaper.PATIENCE_S)
        self.watch.close()
        cells.stop_forkserver()
        self._reap()
        if self._guard is not None:
            self._guard.dismiss()
        global _open
        _open = None

    # Cells

    def _warm_cell(self, launch: Launch) -> Cell | None:
        """The idle cell that suits best, if one does; else one that is being built for nobody yet."""
        idle = [c for c in self.cells.values() if c.state is CellState.IDLE]
        fit = [c for c in idle if _suits(c, launch)]
        if fit:
            return max(fit, key=lambda c: (_kinship(c, launch), -c.number))
        unborn = [
            c for c in self.cells.values() if c.state is CellState.BUILDING and not (c.launch or c.cause)
        ]
        if unborn:
            return unborn[0]
        if idle and len(self.cells) >= self.most:
            self._retire(idle[0])
        return None

    def _new_cell(self, launch: Launch | None) -> Cell:
        number = next((n for n in range(1, self.most + 1) if n not in self.cells), None)
        if number is None:
            raise NoCell
        self._generation += 1
        seat = Seat(
            str(self.home),
            number,
            self._generation,
            self.instance,
            0,
            self.spool_max_bytes,
            os.environ.get("PYTHONPATH"),
        )
        cell = self.cells[number] = Cell(seat)
        cell.launch = launch
        self._hand(self._build, cell)
        return cell

    def _build(self, cell: Cell) -> None:
        try:
            cell.build()
        except (OSError, RuntimeError, EOFError) as error:
            log.error("cell.unbuilt cell=%d error=%s", cell.number, error)
            with self.lock:
                cell.state = CellState.ENDING
            self._finish(cell, Cause(Outcome.CRASHED, f"no worker could be started: {error}"))
            cell.dispose()
            return
        with self.lock:
            self.watch.add(cell)
            cell.state, cell.idle_since = CellState.IDLE, self.clock()
            if cell.cause is not None:
                self.end(cell, cell.cause)
            elif cell.launch is not None:
                self._send(cell)
            else:
                self.lock.notify_all()

    def _send(self, cell: Cell) -> None:
        launch = cell.launch
        assert launch is not None
        cell.state = CellState.BUSY
        cell.beat.renew()
        if cell.stop_asked:
            cell.beat.ask_stop()
        for index, job in enumerate(launch.jobs):
            if cell.skips and job.job_id in cell.skips:
                cell.beat.skip(index)
        raw = _encoder.encode(launch)
        if len(raw) > INLINE_BYTES:
            path = self.home / "scratch" / f"{launch.id}.launch"
            path.write_bytes(raw)
            raw = b"@" + os.fsencode(path)
        cell.scheduled = self.clock()
        try:
            future = cell.schedule(raw)
        except RuntimeError as error:
            self.end(cell, Cause(Outcome.CRASHED, f"the cell was broken: {error}"))
            return
        future.add_done_callback(functools.partial(self._answered, cell, launch))
        self.watch.nudge()

    def _answered(self, cell: Cell, launch: Launch, future: Future[bytes]) -> None:
        """Pebble has an answer, in a thread of its own. A dead worker is the watch's to see, not pebble's."""
        error = future.exception()
        if error is not None:
            self._hand(self._distrust, cell, launch, error)
            return
        try:
            envelope = _envelopes.decode(future.result())
        except msgspec.DecodeError as error:
            self._hand(self._distrust, cell, launch, error)
            return
        with self.lock:
            if cell.launch is not launch or cell.state is not CellState.BUSY:
                return
            if envelope.error:
                cause = Cause(Outcome.TRANSIENT, envelope.error, Reason.RESOURCE_EXHAUSTED)
                self.end(cell, cause)
                return
            cell.memory_bytes, cell.nice, cell.idle_since = envelope.memory_bytes, envelope.nice, self.clock()
        fat = envelope.memory_bytes > max(launch.limits.memory_bytes // 2, SMALL_BYTES)
        self._finish(cell, None, retire=fat or bool(envelope.doubtful))

    def _distrust(self, cell: Cell, launch: Launch, error: BaseException) -> None:
        time.sleep(0.2)  # a dead worker is seen by its sentinel meanwhile, with its exit code
        with self.lock:
            if cell.launch is launch and cell.state is CellState.BUSY:
                self.end(cell, Cause(Outcome.CRASHED, f"the worker's answer could not be read: {error}"))

    # Ends

    def end(self, cell: Cell, cause: Cause | None) -> None:
        """Begin to end a cell and its tree. Holds the lock; returns at once."""
        if cell.state is CellState.BUILDING:
            cell.cause = cause or Cause(Outcome.INTERRUPTED, "the cell was not needed")
        elif cell.state is not CellState.ENDING:
            cell.state = CellState.ENDING
            self._hand(self._end, cell, cause)

    def died(self, cell: Cell) -> None:
        """The watch saw that the process ended by itself."""
        with self.lock:
            self.watch.remove(cell)
            if cell.state is CellState.ENDING:
                return
            cell.state = CellState.ENDING
            self._hand(self._end, cell, None)

    def guard_died(self) -> None:
        """Somebody killed the guard: post another."""
        with self.lock:
            if self._running and self._guard is not None:
                log.warning("guard.died")
                self._guard.dismiss()
                self._guard = Guard(self.home, cells.forkserver_alive_fd())
                self.watch.guard(self._guard.pid)

    def _end(self, cell: Cell, cause: Cause | None) -> None:
        cell.halt()
        reaper.freeze(cell.pid, cell.start)
        found = scene.look(cell)
        if not cell.kill():
            log.error("cell.unkillable cell=%d pid=%d", cell.number, cell.pid)
        self._reap()
        if cause is None:
            cause = self._autopsy(cell)
        self.watch.remove(cell)
        self._finish(cell, cause, found)
        cell.dispose()

    def _autopsy(self, cell: Cell) -> Cause:
        """A worker whose exit nobody could report may have died with the fork server, which takes a moment."""
        code = cell.exit_code()
        deadline = time.monotonic() + 0.3
        while code in (None, UNREPORTED) and time.monotonic() < deadline:
            server = proc.stat(cell.seat.forkserver_pid)
            if server is None or server.gone:
                return Cause(Outcome.LOST, "the fork server died, and this worker with it")
            time.sleep(0.01)
        return crashed(code)

    def _retire(self, cell: Cell) -> None:
        """An idle cell goes; its number is free at once."""
        del self.cells[cell.number]
        cell.state = CellState.ENDING
        self._hand(self._end, cell, Cause(Outcome.INTERRUPTED, "retired"))

    def _finish(
        self, cell: Cell, cause: Cause | None, found: scene.Found | None = None, *, retire: bool = False
    ) -> None:
        """The launch is over: say so. Without a cause the cell lives on, idle."""
        launch = cell.launch
        done = None
        if launch is not None:
            position = found.position if found else cell.beat.position()
            path = self.home / "spool" / f"{launch.id}.jsonl"
            here = position.launch_id == launch.id
            ends = spool.ends(path, position.last_end if here else -1, len(launch.jobs))
            if cause is not None and cause.outcome is Outcome.CRASHED and not here:
                self._stillborn += 1
                if self._stillborn > STILLBORN_MOST:
                    cause = _blame_first(cause, launch)
            elif here:
                self._stillborn = 0
            done = finished(
                launch,
                cell.number,
                ends,
                position,
                cause=cause,
                scene=found.scene if found else scene.living(cell),
                skips=cell.skips,
                peak_bytes=cell.peak_bytes,
                peak_index=cell.peak_index,
            )
            if cause is not None:
                (self.home / "scratch" / f"{launch.id}.launch").unlink(missing_ok=True)
        with self.lock:
            cell.launch = None
            if cause is None:
                cell.state = CellState.IDLE
                if retire:
                    self._retire(cell)
                    self._keep_one_warm()
            elif self.cells.get(cell.number) is cell:
                del self.cells[cell.number]
                self._keep_one_warm()
            if done is not None:
                self._finished.append(done)
            self.lock.notify_all()
        self.watch.nudge()
        if done is not None:
            self.wake()

    def _keep_one_warm(self) -> None:
        if self._running and self._stillborn == 0 and not self.cells:
            self._new_cell(None)

    def retire_idle(self) -> float | None:
        """Let go of cells that were idle for long, but one; returns the seconds until the next is due."""
        with self.lock:
            idle = sorted(
                (c for c in self.cells.values() if c.state is CellState.IDLE), key=lambda c: c.idle_since
            )
            now = self.clock()
            while len(idle) > 1 and now - idle[0].idle_since >= self.idle_s:
                self._retire(idle.pop(0))
            return max(0.01, idle[0].idle_since + self.idle_s - now) if len(idle) > 1 else None

    def _reap(self) -> None:
        known = {cells.forkserver_pid()}
        if self._guard is not None:
            known.add(self._guard.pid)
        reaper.kill_adopted(known, self._since)

    # Small things

    def _cell_of(self, launch_id: int) -> Cell | None:
        found = (c for c in self.cells.values() if c.launch is not None and c.launch.id == launch_id)
        return next(found, None)

    def _launches(self) -> list[int]:
        return [c.launch.id for c in self.cells.values() if c.launch is not None]

    def _facts(self, cell: Cell) -> CellFacts:
        launch, position, sign = cell.launch, None, None
        if launch is not None and cell.state is not CellState.BUILDING:
            position, sign = cell.beat.position(), cell.beat.last_sign()
            if position.launch_id != launch.id or position.nth < 0:
                position = None
        return CellFacts(
            cell.number,
            cell.pid,
            cell.state,
            cell.connector,
            cell.source,
            launch.id if launch else None,
            launch.jobs[position.nth].job_id if launch and position else None,
            position.started if position else None,
            sign.done if sign else 0,
            sign.total if sign else None,
            sign.message if sign else "",
            cell.tree_bytes if launch else cell.memory_bytes,
        )

    def _hand(self, work: Callable[..., None], *args: object) -> None:
        """Do this in a thread of its own."""

        def run() -> None:
            try:
                work(*args)
            except Exception:
                log.exception("pool.failed work=%s", work.__name__)
            finally:
                self._hands.discard(threading.current_thread())

        hand = threading.Thread(target=run, name=f"pool{work.__name__}", daemon=True)
        self._hands.add(hand)
        with contextlib.suppress(RuntimeError):
            hand.start()


def _suits(cell: Cell, launch: Launch) -> bool:
    """A process that has grown fat, or nicer than we may undo, is not for this launch."""
    slim = cell.memory_bytes <= max(launch.limits.memory_bytes // 2, SMALL_BYTES)
    return slim and (cell.nice <= launch.limits.nice or os.geteuid() == 0)


def _kinship(cell: Cell, launch: Launch) -> int:
    """Warm for this source, for its connector, for nothing yet, for something else."""
    if cell.connector == launch.connector:
        return 3 if cell.source == launch.source else 2
    return 0 if cell.connector else 1


def _blame_first(cause: Cause, launch: Launch) -> Cause:
    return Cause(cause.outcome, cause.message, cause.reason, launch.jobs[0].job_id, cause.exit, cause.signal)


_open: Pool | None = None
_encoder = msgspec.json.Encoder()
_envelopes = msgspec.json.Decoder(Envelope)
