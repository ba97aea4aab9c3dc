"""Stopping: running jobs get their grace, then are interrupted without losing an attempt."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import pytest

from farm.errors import FarmError
from tests.support.farms import Farm, misbehaving
from tests.support.wait import until

LONG = {"timeout": "120s", "stall": "120s"}


def hanging(tmp_path: Path, grace: str) -> Farm:
    return Farm(tmp_path / "home", {"hang": misbehaving("Hang", "bad", profile=LONG)}, grace=grace)


def begin(farm: Farm, *, progress: bool = False) -> None:
    farm.start(progress=progress)
    farm.call("run", source="hang")
    until(lambda: any(cell["job_id"] == 2 for cell in farm.call("status_live")["cells"]), 20)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, "farm stop"])
def test_what_still_runs_after_the_grace_is_interrupted_and_loses_no_attempt(
    tmp_path: Path, how: signal.Signals | str
) -> None:
    with hanging(tmp_path, "300ms") as farm:
        begin(farm)
        if isinstance(how, signal.Signals):
            farm.signal(how)
        else:
            assert farm.cli("stop").returncode == 0
        assert farm.wait(10) == 0
        assert farm.ledger("SELECT state, attempts, number, outcome FROM job WHERE key = 'bad'") == [
            ("pending", 0, 1, "interrupted")
        ]
        assert not farm.processes()


def test_what_finishes_within_the_grace_has_succeeded(tmp_path: Path) -> None:
    slow = misbehaving("Sleeps", "good", options={"sleep_s": 1.0})
    with Farm(tmp_path / "home", {"slow": slow}, grace="20s") as farm:
        farm.start()
        farm.call("run", source="slow")
        until(lambda: any(cell["job_id"] == 2 for cell in farm.call("status_live")["cells"]), 20)
        farm.signal(signal.SIGTERM)
        assert farm.wait(20) == 0
        assert farm.jobs() == {"succeeded": 2}


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with hanging(tmp_path, "60s") as farm:
        begin(farm)
        farm.signal(signal.SIGINT)
        until(lambda: farm.call("status_live")["stopping"], 5)
        began = time.monotonic()
        farm.signal(signal.SIGINT)
        assert farm.wait(10) == 0
        assert time.monotonic() - began < 5
        assert farm.jobs() == {"succeeded": 1, "pending": 1}


def test_a_stop_says_what_it_waits_for_and_what_it_interrupted(tmp_path: Path) -> None:
    with hanging(tmp_path, "60s") as farm:
        begin(farm, progress=True)
        farm.signal(signal.SIGINT)
        stopping = "stopping: 1 job has 60 s to finish; Ctrl-C again ends them now"
        until(lambda: stopping in farm.output.read_text(), 10, what="that it stops")
        farm.signal(signal.SIGINT)
        assert farm.wait(10) == 0
        assert farm.output.read_text() == f"{stopping}\nstopped; 1 job was interrupted\n"


def test_stop_now_does_not_wait(tmp_path: Path) -> None:
    with hanging(tmp_path, "60s") as farm:
        begin(farm)
        began = time.monotonic()
        assert farm.cli("stop", "--now").returncode == 0
        assert farm.wait(10) == 0
        assert time.monotonic() - began < 6


def reads(farm: Farm) -> bool:
    """The unit is being read (a lease alone is given back when the farm stops), in a farm that may just be starting."""
    with contextlib.suppress(FarmError, OSError):
        return any(cell["job_id"] == 2 for cell in farm.call("status_live")["cells"])
    return False


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_drain_that_is_told_to_stop_with_work_left_exits_with_130(
    tmp_path: Path, how: signal.Signals
) -> None:
    with hanging(tmp_path, "300ms") as farm:
        farm.start(drain=True)
        until(lambda: reads(farm), 30)
        farm.signal(how)
        assert farm.wait(20) == 130


def test_a_drain_whose_last_jobs_end_within_the_grace_was_not_cut_short(tmp_path: Path) -> None:
    slow = misbehaving("Sleeps", "good", options={"sleep_s": 5.0})
    with Farm(tmp_path / "home", {"slow": slow}, grace="60s") as farm:
        farm.start(drain=True)
        until(lambda: reads(farm), 30)
        farm.signal(signal.SIGINT)
        assert farm.wait(60) == 0
