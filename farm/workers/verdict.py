"""What became of a launch's jobs: END lines speak for those that ended, the heartbeat page tells which job
a dead worker was on, and the rest were never started. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from farm.core.job import Ending, Evidence, Finished, Launch, Outcome, Reason, Usage
from farm.workers.beat import Position
from farm.workers.spool import End

NOTHING = Usage()
UNREPORTED = 255
"""What multiprocessing gives as the exit code when the fork server could not tell."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a worker is no more."""

    outcome: Outcome
    message: str
    reason: Reason | None = None
    job_id: int | None = None
    """Who is to blame; None: the job it was on."""
    exit: int | None = None
    signal: int | None = None


@dataclass(frozen=True, slots=True)
class Scene:
    """What was found where the worker had been."""

    pid: int = 0
    usage: Usage = NOTHING
    log: str = ""
    versions: str = ""


_REFUSED = re.compile(r"memory allocation of (\d+) bytes failed")
"""What Rust's runtime says before it aborts: it cannot raise MemoryError."""


def crashed(exit_code: int | None, log: str = "") -> Cause:
    """The cause that an exit code (negative: a signal) and the last words tell of.

    >>> crashed(-11).message
    'the worker was killed by signal 11 (SIGSEGV)'
    >>> crashed(0).message
    'the worker exited with code 0 before its job had ended'
    """
    if exit_code in (None, UNREPORTED):
        return Cause(Outcome.CRASHED, "the worker vanished", exit=exit_code)
    if exit_code == -signal.SIGABRT and (refused := _REFUSED.search(log)):
        message = f"a library was refused {int(refused[1]):,} bytes more of memory, and gave up"
        return Cause(Outcome.OUT_OF_MEMORY, message, signal=signal.SIGABRT)
    if exit_code < 0:
        try:
            name = f" ({signal.Signals(-exit_code).name})"
        except ValueError:
            name = ""
        return Cause(
            Outcome.CRASHED, f"the worker was killed by signal {-exit_code}{name}", signal=-exit_code
        )
    message = f"the worker exited with code {exit_code} before its job had ended"
    return Cause(Outcome.CRASHED, message, exit=exit_code)


def unreadable(launch: Launch, cell: int, why: str) -> Finished:
    """What a launch came to when its traces cannot be read: it costs its first job an attempt, so that it
    is not tried for ever."""
    first, *rest = launch.jobs
    message = f"what its worker left could not be read: {why}"[:500]
    ending = Ending(first.job_id, first.attempt_id, Outcome.TRANSIENT, message)
    return Finished(launch.id, cell, (ending,), tuple(job.job_id for job in rest))


def blame_first(cause: Cause, launch: Launch) -> Cause:
    """The same cause, on the launch's first job."""
    return replace(cause, job_id=launch.jobs[0].job_id)


def blamed(launch: Launch, position: Position, ended: Mapping[int, Ending], cause: Cause) -> int | None:
    """The index of the job that the cause falls on, or None when it fell between jobs."""
    if cause.job_id is not None:
        index = next((i for i, job in enumerate(launch.jobs) if job.job_id == cause.job_id), None)
    else:
        index = position.nth if position.launch_id == launch.id and position.nth >= 0 else None
    if index is None or index >= len(launch.jobs) or launch.jobs[index].job_id in ended:
        return None
    return index


def finished(
    launch: Launch,
    cell: int,
    ends: Sequence[End],
    position: Position,
    *,
    cause: Cause | None,
    scene: Scene,
    skips: Mapping[int, tuple[Outcome, str]],
    peak_bytes: int = 0,
    peak_nth: int = -1,
) -> Finished:
    """Put together how each job of the launch ended."""
    peaked = launch.jobs[peak_nth].job_id if 0 <= peak_nth < len(launch.jobs) else None
    ended = {e.job: e.ending(scene.pid, peak_bytes if e.job == peaked else 0) for e in ends}
    guilty = blamed(launch, position, ended, cause) if cause is not None else None
    if cause is not None and guilty is not None:
        job = launch.jobs[guilty]
        here = not position.born or (guilty == position.nth and position.launch_id == launch.id)
        start = ends[-1].end if ends else 0
        ended[job.job_id] = Ending(
            job.job_id,
            job.attempt_id,
            cause.outcome,
            cause.message,
            cause.reason,
            started_at=position.started_at if here else 0.0,
            usage=scene.usage if here else NOTHING,
            start=start,
            end=start,
            pid=scene.pid,
            exit=cause.exit,
            signal=cause.signal,
            evidence=Evidence("", scene.log if here else "", scene.versions),
        )
    for job in launch.jobs:
        if job.job_id in skips and job.job_id not in ended:
            outcome, message = skips[job.job_id]
            ended[job.job_id] = Ending(job.job_id, job.attempt_id, outcome, message)
    return Finished(
        launch.id,
        cell,
        tuple(ended[job.job_id] for job in launch.jobs if job.job_id in ended),
        tuple(job.job_id for job in launch.jobs if job.job_id not in ended),
    )
