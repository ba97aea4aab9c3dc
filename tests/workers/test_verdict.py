"""Who is to blame, by table: END lines first, then the heartbeat page, and the rest was never started."""

from __future__ import annotations

import doctest

import pytest

from farm.core.job import JobSpec, Launch, Limits, Outcome, Stage
from farm.workers import redact, verdict
from farm.workers.beat import Position
from farm.workers.spool import End
from farm.workers.verdict import Cause, Scene, finished

LAUNCH = Launch(
    7,
    "s",
    "c",
    "{}",
    tuple(JobSpec(100 + i, 7 + i, Stage.EXTRACT) for i in range(3)),
    Limits(1, 1, 1),
)
KILLED = Cause(Outcome.TIMED_OUT, "late", signal=9)


def at(nth: int, launch_id: int = 7) -> Position:
    return Position(2, launch_id, nth, 1.0, 1e9, 0.0, 0, -1)


@pytest.mark.parametrize(
    ("ended", "position", "cause", "skips", "outcomes", "unstarted"),
    [
        (3, at(2), None, {}, ["succeeded"] * 3, []),
        (1, at(1), KILLED, {}, ["succeeded", "timed_out"], [102]),
        (1, at(0), KILLED, {}, ["succeeded"], [101, 102]),
        (3, at(2), KILLED, {}, ["succeeded"] * 3, []),
        (0, at(1, launch_id=6), KILLED, {}, [], [100, 101, 102]),
        (0, at(-1), KILLED, {}, [], [100, 101, 102]),
        (1, at(1), Cause(Outcome.CANCELLED, "", job_id=102), {}, ["succeeded", "cancelled"], [101]),
        (1, at(1), Cause(Outcome.CANCELLED, "", job_id=100), {}, ["succeeded"], [101, 102]),
        (1, at(1), KILLED, {102: (Outcome.CANCELLED, "")}, ["succeeded", "timed_out", "cancelled"], []),
        (1, at(0), None, {}, ["succeeded"], [101, 102]),
    ],
    ids=[
        "all ended",
        "killed in the second",
        "killed between two: nobody's fault",
        "killed after the last",
        "killed before it began; the page is of the launch before",
        "killed before its first job",
        "a cancelled one has not begun",
        "a cancelled one has ended",
        "one was to be left out",
        "asked to stop after the first",
    ],
)
def test_blame_falls_on_one_job_at_most(
    ended: int,
    position: Position,
    cause: Cause | None,
    skips: dict[int, tuple[Outcome, str]],
    outcomes: list[str],
    unstarted: list[int],
) -> None:
    ends = [End(100 + i, 7 + i, Outcome.SUCCEEDED) for i in range(ended)]
    found = finished(LAUNCH, 1, ends, position, cause=cause, scene=Scene(55), skips=skips)
    assert [e.outcome for e in found.endings] == outcomes
    assert list(found.unstarted) == unstarted
    assert len(found.endings) + len(found.unstarted) == 3


@pytest.mark.parametrize("module", [redact, verdict])
def test_the_examples_in_the_docstrings_hold(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried and not failed
