"""The worker: runs inside a cell's process. One launch at a time, its jobs one after the other.

Nothing a connector does comes back over the pipe but a small envelope of bytes: what it finds goes to the
spool, where it is goes to the heartbeat page, what goes wrong becomes an END line.
"""

from __future__ import annotations

import contextlib
import os
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec
from setproctitle import setproctitle

from farm import registry
from farm.connector import Connector
from farm.core.job import JobSpec, Launch, Outcome
from farm.workers import fault, joblog, reaper, seat
from farm.workers.attempt import Attempt
from farm.workers.beat import NOWHERE, Beat
from farm.workers.context import Desk
from farm.workers.meter import Meter
from farm.workers.spool import End, SpoolFull, Writer
from farm.workers.throttle import Throttle

INLINE_BYTES = 32 * 1024
"""A launch longer than this comes by file: the farm must never block on a pipe that nobody reads."""


class Envelope(msgspec.Struct, omit_defaults=True):
    """What a launch returns; that it returns is the proof that the worker lived to its end."""

    launch: int
    ends: int = 0
    memory_bytes: int = 0
    nice: int = 0
    error: str = ""
    """The worker itself could not go on: what it was about is the job after the last END."""
    doubtful: str = ""
    """Why this process should not be used again."""


def begin(seat_: seat.Seat) -> None:
    """Called once in a new worker."""
    global _worker
    _worker = Worker(seat_)


def run_launch(raw: bytes) -> bytes:
    """The one callable the farm ever schedules: bytes in, bytes out, and no exception."""
    try:
        if raw.startswith(b"@"):
            path = Path(os.fsdecode(raw[1:]))
            raw = path.read_bytes()
            path.unlink()
        return _envelope.encode(_worker.launch(_launch.decode(raw)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, the pipe must carry bytes
        return _envelope.encode(
            Envelope(0, error=f"{type(error).__name__}: {error}"[:500], doubtful="the worker failed")
        )


class Worker:
    """One per process."""

    def __init__(self, seat_: seat.Seat) -> None:
        self.seat = seat_
        self.vault = seat.take(seat_)
        self.redact = self.vault.redact
        self.beat = Beat(seat_.beat)
        self.meter = Meter()
        self.pid = os.getpid()
        self.forked = False
        self._loaded: tuple[str, type[Connector[Any]]] | None = None
        self._options: tuple[str, str, Any] = ("", "", None)
        self._desk: Desk | None = None
        os.register_at_fork(after_in_child=self._is_child)
        self.beat.at(0, NOWHERE, self.meter.started, self.meter.started_at, 0.0, 0, -1)  # born

    def launch(self, launch: Launch) -> Envelope:
        spool = Writer(Path(self.seat.home, "spool", f"{launch.id}.jsonl"))
        envelope = Envelope(launch.id)
        self._renice(launch.limits.nice)
        self.meter.begin(launch.limits.memory_bytes)
        self._stand(launch, NOWHERE, spool)
        nth = NOWHERE
        try:
            for index, job in enumerate(launch.jobs):
                if self.beat.stop:
                    break
                if not self.beat.skipped(index):
                    nth = index
                    doubtful = self._job(launch, nth, job, spool)
                    envelope.doubtful = envelope.doubtful or doubtful
            self._stand(launch, nth, spool)
        except SpoolFull as error:
            envelope.error = f"the spool could not be written: {error}"
        finally:
            self._desk = None
            spool.close()
            joblog.restart()
        envelope.ends = spool.ends
        envelope.memory_bytes = self.meter.resident_bytes()
        envelope.nice = os.getpriority(os.PRIO_PROCESS, 0)
        setproctitle(f"farm: cell {self.seat.cell}")
        return envelope

    def _stand(self, launch: Launch, nth: int, spool: Writer) -> float:
        """Tell the farm which job we are at, and how many have ended; returns since when, by the time of day."""
        meter = self.meter
        self.beat.at(
            launch.id, nth, meter.started, meter.started_at, meter.started_cpu_s, spool.ends, spool.last_end
        )
        return meter.started_at

    def _job(self, launch: Launch, nth: int, job: JobSpec, spool: Writer) -> str:
        """Run one job and write its END line; returns why the process is in doubt after it, if it is.

        The page says that it has ended by saying where we stand next, which is the very next thing we do.
        """
        started_at = self._stand(launch, nth, spool)
        joblog.restart()
        self.meter.reset_peak()
        setproctitle(f"farm: {_plain(launch.connector)} job {job.job_id}")
        self.meter.limit()
        end = End(job.job_id, job.attempt_id, Outcome.SUCCEEDED, started_at=started_at, start=spool.offset)
        connector: type[Connector[Any]] | None = None
        doubtful = ""
        try:
            connector = self._connector(launch.connector)
            attempt = Attempt(self._desk_of(launch, connector, spool), job)
            end.outcome, end.message = attempt.run()
            end.items = attempt.items
        except SpoolFull:
            raise
        except BaseException as error:  # noqa: BLE001 - a connector may raise anything, SystemExit included
            self._leave_if_child()
            self.meter.unlimit()
            doubtful = self._blame(end, error, connector)
        self._leave_if_child()
        self.meter.unlimit()
        self._end_children()
        end.wall_s, end.cpu_s, end.memory_peak_bytes = self.meter.lap()
        spool.end(end)
        return doubtful

    def _desk_of(self, launch: Launch, connector: type[Connector[Any]], spool: Writer) -> Desk:
        """Made by the first job of a launch that comes so far, for all of them."""
        if self._desk is None:
            limits = launch.limits
            self._desk = Desk(
                connector,
                self._options_of(launch, connector),
                launch,
                spool,
                self.beat,
                self.vault,
                Throttle.of(Path(self.seat.home), launch.source, limits.requests_per_s, limits.burst),
                scratch=self.seat.scratch,
                cache=self.seat.cache_of(launch.source),
                max_bytes=self.seat.spool_max_bytes,
                is_child=lambda: self.forked,
            )
        return self._desk

    def _blame(self, end: End, error: BaseException, connector: type | None) -> str:
        found = fault.classed(error)
        end.outcome, end.reason, end.retry_after_s = found.outcome, found.reason, found.retry_after_s
        end.unavailable = found.unavailable
        end.message = self.redact(found.message)
        end.traceback = self.redact(fault.evidence(error))
        end.log = self.redact(joblog.tail())
        end.versions = fault.versions(connector)
        # The frames of the failed job hold whatever it had in its hands.
        traceback.clear_frames(error.__traceback__)
        if found.outcome is Outcome.DEPENDENCY:
            return "an import failed half-way"
        return "it ran out of memory" if found.outcome is Outcome.OUT_OF_MEMORY else ""

    def _connector(self, name: str) -> type[Connector[Any]]:
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = (name, registry.load(name))
        return self._loaded[1]

    def _options_of(self, launch: Launch, connector: type[Connector[Any]]) -> Any:
        if self._options[:2] != (launch.connector, launch.options):
            options = connector.Options.model_validate_json(launch.options or "{}")
            self._options = (launch.connector, launch.options, options)
        return self._options[2]

    def _renice(self, nice: int) -> None:
        if os.getpriority(os.PRIO_PROCESS, 0) != nice:
            with contextlib.suppress(PermissionError):
                os.setpriority(os.PRIO_PROCESS, 0, nice)

    def _end_children(self) -> None:
        """What a job started ends with it."""
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return  # there is none: the usual case, for the price of one call
        while True:
            reaper.kill_below(self.pid, 1.0)
            try:
                while os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG):
                    pass
            except ChildProcessError:
                return
            time.sleep(0.0005)

    def _is_child(self) -> None:
        self.forked = True

    def _leave_if_child(self) -> None:
        """A connector forked and its child came back here: it is not us, and must not write as us."""
        if self.forked:
            os._exit(70)


def _plain(connector: str) -> str:
    """A connector's name for a process title, without the path of its module."""
    return connector.rpartition(":")[2]


_envelope = msgspec.json.Encoder()
_launch = msgspec.json.Decoder(Launch)
_worker: Worker
