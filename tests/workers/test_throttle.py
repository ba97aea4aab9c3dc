"""How often a source is asked, whoever asks: one bucket, shared by processes."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

from farm.workers.throttle import Throttle


class Hours:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def throttle(tmp_path: Path, hours: Hours, per_s: float, burst: int = 1) -> Throttle:
    return Throttle(tmp_path / "limits" / "it", per_s, burst, clock=lambda: hours.now, sleep=hours.sleep)


def turns(one: Throttle, hours: Hours, count: int) -> list[float]:
    found = []
    for _ in range(count):
        assert one.wait(lambda: None, lambda: False)
        found.append(round(hours.now - 1000.0, 6))
    return found


def test_a_burst_goes_at_once_and_the_rest_in_its_rhythm(tmp_path: Path) -> None:
    hours = Hours()
    assert turns(throttle(tmp_path, hours, 4, burst=3), hours, 6) == [0, 0, 0, 0.25, 0.5, 0.75]


def test_after_a_quiet_while_there_is_a_burst_again_and_no_more_than_that(tmp_path: Path) -> None:
    hours = Hours()
    one = throttle(tmp_path, hours, 4, burst=2)
    turns(one, hours, 4)
    hours.now = 1100.0
    assert turns(one, hours, 3) == [100, 100, 100.25]


def test_two_who_share_a_source_share_its_turns(tmp_path: Path) -> None:
    hours = Hours()
    one, other = (throttle(tmp_path, hours, 2) for _ in range(2))
    assert turns(one, hours, 1) + turns(other, hours, 1) + turns(one, hours, 1) == [0, 0.5, 1.0]


def test_without_a_limit_nobody_waits_and_nothing_is_written(tmp_path: Path) -> None:
    hours = Hours()
    assert turns(throttle(tmp_path, hours, 0), hours, 3) == [0, 0, 0]
    assert not (tmp_path / "limits").exists()


def test_a_number_from_before_the_machine_was_restarted_is_void(tmp_path: Path) -> None:
    hours = Hours()
    turns(throttle(tmp_path, hours, 1), hours, 3)
    (later := Hours()).now = 5.0
    hours.now = 1e6
    turns(throttle(tmp_path, hours, 1), hours, 1)
    assert turns(throttle(tmp_path, later, 1), later, 1) == [-995.0]


def test_a_request_to_stop_ends_the_waiting_and_waiting_shows_life(tmp_path: Path) -> None:
    hours, signs = Hours(), list[float]()
    one = throttle(tmp_path, hours, 0.01)
    turns(one, hours, 1)
    assert not one.wait(lambda: signs.append(hours.now), lambda: hours.now > 1030)
    assert 1030 < hours.now < 1031
    assert len(signs) > 100


def _ask(path: Path, barrier: Any, seen: Any) -> None:
    one = Throttle(path, 100.0, 5)
    barrier.wait()
    for _ in range(10):
        one.wait(lambda: None, lambda: False)
        seen.put(time.monotonic())


def test_processes_together_do_not_go_over_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, seen = context.Barrier(3), context.Queue()
    asking = [
        context.Process(target=_ask, args=(tmp_path / "limits" / "it", barrier, seen)) for _ in range(3)
    ]
    for process in asking:
        process.start()
    times = sorted(seen.get(timeout=30) for _ in range(30))
    for process in asking:
        process.join()
    assert times[-1] - times[0] >= (30 - 5) / 100 - 0.05
