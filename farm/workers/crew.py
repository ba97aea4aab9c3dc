"""The crew: the lives of the cells, from their making to their end, and what each launch came to.

A cell is BUILDING, then IDLE and BUSY in turn, ANSWERED in between, and ENDING once. Whoever moves it to
ANSWERED or ENDING, under the lock, is the one who finishes its launch: so each launch ends once. What is
slow (starting a process, ending a tree, taking a cell apart) runs in a thread of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import msgspec

from farm import shortage
from farm.core.job import Finished, Launch, Outcome, Reason
from farm.errors import FarmError
from farm.workers import nursery, proc, reaper, scene, spool
from farm.workers.cell import Cell, CellState
from farm.workers.guard import Guard
from farm.workers.seat import Seat
from farm.workers.verdict import UNREPORTED, Cause, blame_first, crashed, finished, unreadable
from farm.workers.watch import Watch
from farm.workers.worker import INLINE_BYTES, Envelope

log = logging.getLogger("farm.workers")

SMALL_BYTES = 64 * 1024 * 1024
"""A worker this small is never too fat for a job."""
STILLBORN_MOST = 3
"""So many workers in a row that died before they could work: then the launch's first job takes the blame,
or it would be tried for ever."""


class NoCell(FarmError):
    """All cells are taken."""

    def __init__(self, why: str = "all cells are taken") -> None:
        super().__init__(why)


class Crew:
    """Of one pool. `lock` guards the cells and all that changes in them."""

    def __init__(
        self,
        home: Path,
        *,
        most: int,
        instance: str,
        wake: Callable[[], None],
        clock: Callable[[], float],
        spool_max_bytes: int,
        idle_s: float,
        begin_s: float,
        secrets: Path,
    ) -> None:
        self.home = home
        self.secrets = secrets
        self.most = most
        self.instance = instance
        self.wake = wake
        self.clock = clock
        self.spool_max_bytes = spool_max_bytes
        self.idle_s = idle_s
        self.lock = threading.Condition(threading.RLock())
        self.cells: dict[int, Cell] = {}
        self.over: deque[Finished] = deque()
        self.running = False
        self.guard: Guard | None = None
        self.watch = Watch(self, begin_s)
        self._hands: set[threading.Thread] = set()
        self._postponed: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._spare = shortage.Thread(self._lend_a_hand, name="crew_spare")
        self._generation = 0
        self._stillborn = 0
        self._since = 0

    # Opening and closing

    def open(self) -> None:
        proc.prctl(proc.PR_SET_CHILD_SUBREAPER, 1)
        own = proc.stat(os.getpid())
        self._since = own.start if own else 0
        nursery.lie_in(self.home / "nursery")
        nursery.start(f"{reaper.mark_of(str(self.home))}.{self.instance}:0")
        self.guard = Guard(self.home, nursery.alive_fd())
        self.running = True
        self.watch.guard(self.guard.pid)
        self.watch.start()
        self._spare.start()
        with self.lock:
            self.keep_one_warm()

    def close(self) -> None:
        with self.lock:
            self.running = False
            for cell in list(self.cells.values()):
                self.end(cell, Cause(Outcome.INTERRUPTED, "the farm is stopping"))
            self.lock.wait_for(lambda: not self.cells, reaper.PATIENCE_S)
        while hands := list(self._hands):
            for hand in hands:
                hand.join(reaper.PATIENCE_S)
        self._postponed.put(None)
        if self._spare.ident is not None:
            self._spare.join(reaper.PATIENCE_S)
        self.watch.close()
        nursery.stop()
        self._reap()
        if self.guard is not None:
            self.guard.dismiss()

    # A cell's life

    def make(self, launch: Launch | None) -> Cell:
        """A new cell, for this launch if any. Holds the lock; raises NoCell."""
        number = next((n for n in range(1, self.most + 1) if n not in self.cells), None)
        if number is None:
            raise NoCell
        self._generation += 1
        seat = Seat(
            home=str(self.home),
            cell=number,
            generation=self._generation,
            instance=self.instance,
            forkserver_pid=0,
            spool_max_bytes=self.spool_max_bytes,
            secrets=str(self.secrets),
            pythonpath=os.environ.get("PYTHONPATH"),
        )
        try:
            cell = Cell(seat)
        except OSError as error:
            raise NoCell(f"no cell can be made: {error.strerror or error}") from error
        self.cells[number] = cell
        cell.launch, cell.since = launch, self.clock()
        self._hand(self._build, cell)
        self.watch.nudge()
        return cell

    def keep_one_warm(self) -> None:
        """Holds the lock. Not while workers die at birth: that would go on for ever."""
        if self.running and not self._stillborn and not self.cells:
            with contextlib.suppress(NoCell):
                self.make(None)

    def _build(self, cell: Cell) -> None:
        try:
            cell.build()
        except (OSError, RuntimeError, EOFError) as error:
            log.error("cell.unbuilt cell=%d error=%s", cell.number, error)
            with self.lock:
                cell.state = CellState.ENDING
            # No worker was there, so no job is to blame: they all go back unharmed.
            self._finish(cell, Cause(Outcome.INTERRUPTED, f"no worker could be started: {error}"))
            cell.dispose()
            return
        with self.lock:
            self.watch.add(cell)
            cell.state, cell.since = CellState.IDLE, self.clock()
            if cell.cause is not None:
                self.end(cell, cell.cause)
            elif cell.launch is not None:
                self.send(cell, cell.launch)
            self.lock.notify_all()

    def send(self, cell: Cell, launch: Launch) -> None:
        """Let an idle cell begin this launch. Holds the lock."""
        cell.launch, cell.state, cell.since = launch, CellState.BUSY, self.clock()
        cell.beat.renew()
        if cell.stop_asked:
            cell.beat.ask_stop()
        for index, job in enumerate(launch.jobs if cell.skips else ()):
            if job.job_id in cell.skips:
                cell.beat.skip(index)
        try:
            future = cell.schedule(self._packed(launch))
        except (RuntimeError, OSError) as error:
            self.end(cell, Cause(Outcome.CRASHED, f"the launch could not be sent: {error}"))
            return
        future.add_done_callback(functools.partial(self._answered, cell, launch))
        self.watch.nudge()

    def _packed(self, launch: Launch) -> bytes:
        raw = _encoder.encode(launch)
        if len(raw) <= INLINE_BYTES:
            return raw
        path = self._letter(launch)
        path.write_bytes(raw)
        return b"@" + os.fsencode(path)

    def _letter(self, launch: Launch) -> Path:
        return self.home / "scratch" / f"{launch.id}.launch"

    def _answered(self, cell: Cell, launch: Launch, future: Future[bytes]) -> None:
        """Pebble has an answer, in a thread of its own. A dead worker is the watch's to see, not pebble's."""
        try:
            answer = future.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, the answer is none
            self._hand(self._distrust, cell, launch, str(error))
            return
        try:
            self._heard(cell, launch, answer)
        except Exception as error:
            shortage.end_if_memory(error)  # a future keeps to itself what is raised here
            log.exception("crew.unheard launch=%d", launch.id)
            raise

    def _heard(self, cell: Cell, launch: Launch, answer: bytes) -> None:
        try:
            envelope = _envelopes.decode(answer)
        except msgspec.MsgspecError as error:
            self._hand(self._distrust, cell, launch, str(error))
            return
        with self.lock:
            if cell.launch is not launch or cell.state is not CellState.BUSY:
                return
            if envelope.error:
                self.end(cell, Cause(Outcome.TRANSIENT, envelope.error, Reason.RESOURCE_EXHAUSTED))
                return
            cell.state, cell.since = CellState.ANSWERED, self.clock()
            cell.memory_bytes, cell.nice = envelope.memory_bytes, envelope.nice
            if envelope.doubtful or cell.memory_bytes > max(launch.limits.memory_bytes // 2, SMALL_BYTES):
                cell.cause = RETIRED
        self._finish(cell, None)

    def _distrust(self, cell: Cell, launch: Launch, error: str) -> None:
        time.sleep(0.2)  # a dead worker is seen by its sentinel meanwhile, with its exit code
        with self.lock:
            if cell.launch is launch and cell.state is CellState.BUSY:
                self.end(cell, Cause(Outcome.CRASHED, f"the worker's answer could not be read: {error}"))

    # A cell's end

    def end(self, cell: Cell, cause: Cause) -> None:
        """Begin to end a cell and its tree. Holds the lock; returns at once."""
        if cell.state in (CellState.BUILDING, CellState.ANSWERED):
            cell.cause = cause
        elif cell.state is not CellState.ENDING:
            cell.state = CellState.ENDING
            self._hand(self._end, cell, cause)

    def retire(self, cell: Cell) -> None:
        """An idle cell goes; its number is free at once. Holds the lock."""
        del self.cells[cell.number]
        self.end(cell, RETIRED)

    def retire_idle(self) -> float | None:
        """Let go of cells that were idle for long, but one; returns the seconds until the next is due."""
        with self.lock:
            idle = sorted(
                (c for c in self.cells.values() if c.state is CellState.IDLE), key=lambda c: c.since
            )
            now = self.clock()
            while len(idle) > 1 and now - idle[0].since >= self.idle_s:
                self.retire(idle.pop(0))
            return max(0.01, idle[0].since + self.idle_s - now) if len(idle) > 1 else None

    def died(self, cell: Cell) -> None:
        """The watch saw that the process ended by itself."""
        with self.lock:
            self.watch.remove(cell)
            if cell.state is CellState.ANSWERED:
                cell.cause = RETIRED
            elif cell.state is not CellState.ENDING:
                cell.state = CellState.ENDING
                self._hand(self._end, cell, None)

    def guard_died(self) -> None:
        """Somebody killed the guard: post another."""
        with self.lock:
            if self.running and self.guard is not None:
                log.warning("guard.died")
                self.guard.dismiss()
                self.guard = Guard(self.home, nursery.alive_fd())
                self.watch.guard(self.guard.pid)

    def _end(self, cell: Cell, cause: Cause | None) -> None:
        """Without a cause it ended by itself, and its exit code is the cause."""
        found = None
        try:
            cell.halt()
            reaper.freeze(cell.pid, cell.start)
            found = scene.look(cell)
            if not cell.kill():
                log.error("cell.unkillable cell=%d pid=%d", cell.number, cell.pid)
            self._reap()
            self.watch.remove(cell)
            cause = cause or self._autopsy(cell, found)
        finally:  # whatever happened, the launch must come back
            self._finish(cell, cause or crashed(None), found)
        cell.dispose()

    def _autopsy(self, cell: Cell, found: scene.Found | None) -> Cause:
        """A worker whose exit nobody could report may have died with the fork server, which takes a moment."""
        code = cell.exit_code()
        deadline = time.monotonic() + 0.3
        while code in (None, UNREPORTED) and time.monotonic() < deadline:
            server = proc.stat(cell.seat.forkserver_pid)
            if server is None or server.gone:
                return Cause(Outcome.LOST, "the fork server died, and this worker with it")
            time.sleep(0.01)
        return crashed(code, found.scene.log if found else "")

    def _finish(self, cell: Cell, cause: Cause | None, found: scene.Found | None = None) -> None:
        """The launch is over: say so. Without a cause the cell lives on."""
        if found is None:
            found = scene.living(cell)
        over = None
        if (launch := cell.launch) is not None:
            try:
                over = self._put_together(cell, launch, cause, found)
            except Exception as error:
                shortage.end_if_memory(error)
                log.exception("crew.unreadable launch=%d", launch.id)
                over = unreadable(launch, cell.number, str(error))
        if cause is not None and cause.outcome is Outcome.CRASHED and not found.position.born:
            self._stillborn += 1
        elif found.position.born:
            self._stillborn = 0
        with self.lock:
            cell.launch = None
            if over is not None:
                self.over.append(over)
            if cause is None:
                cell.state, cell.since = CellState.IDLE, self.clock()
                if cell.cause is not None:
                    self.retire(cell)
            elif self.cells.get(cell.number) is cell:
                del self.cells[cell.number]
            self.keep_one_warm()
            self.lock.notify_all()
        self.watch.nudge()
        if over is not None:
            self.wake()

    def _put_together(self, cell: Cell, launch: Launch, cause: Cause | None, found: scene.Found) -> Finished:
        last_end = found.position.last_end if found.position.launch_id == launch.id else -1
        ends = spool.ends(self.home / "spool" / f"{launch.id}.jsonl", last_end, len(launch.jobs))
        if cause is not None:
            with contextlib.suppress(OSError):
                self._letter(launch).unlink()
            if (
                cause.outcome is Outcome.CRASHED
                and not found.position.born
                and self._stillborn >= STILLBORN_MOST
            ):
                cause = blame_first(cause, launch)
        return finished(
            launch,
            cell.number,
            ends,
            found.position,
            cause=cause,
            scene=found.scene,
            skips=cell.skips,
            peak_bytes=cell.peak_bytes,
            peak_nth=cell.peak_nth,
        )

    def _reap(self) -> None:
        known = {nursery.pid()}
        if self.guard is not None:
            known.add(self.guard.pid)
        reaper.kill_adopted(known, self._since)

    def _hand(self, work: Callable[..., None], *args: object) -> None:
        """Do this in a thread of its own."""

        def run() -> None:
            try:
                work(*args)
            except Exception as error:
                shortage.end_if_memory(error)
                log.exception("crew.failed work=%s", work.__name__)
            finally:
                self._hands.discard(threading.current_thread())

        hand = shortage.Thread(run, name=f"crew{work.__name__}")
        self._hands.add(hand)
        try:
            hand.start()
        except (
            RuntimeError
        ):  # the machine gives no thread: one of our own does it, after what else it has to do
            self._hands.discard(hand)
            self._postponed.put(run)

    def _lend_a_hand(self) -> None:
        while (work := self._postponed.get()) is not None:
            work()


RETIRED = Cause(Outcome.INTERRUPTED, "the cell was retired")
_encoder = msgspec.json.Encoder()
_envelopes = msgspec.json.Decoder(Envelope)
