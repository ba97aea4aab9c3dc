"""The arithmetic of the report."""

import math

import pytest

from loadtest import figures
from loadtest.figures import Span


def attempt(id_, job, launch, leased, started, wall_s, *, cpu=1.0, memory=10, ended=None):
    return {
        "id": id_, "job": job, "launch": launch, "leased": leased, "started": started, "wall_s": wall_s,
        "cpu": cpu, "memory_bytes": memory, "ended": ended,
    }  # fmt: skip


def test_attempts_of_one_launch_count_once():
    told = [attempt(1, 1, 1, 0.0, 0.1, 1.0), attempt(2, 2, 1, 0.0, 1.1, 2.0), attempt(3, 3, 3, 1.0, 1.0, 1.0)]
    held = figures.spans(told, {1: "a", 2: "a", 3: "b"})
    assert held == [Span("a", 0.0, 3.1, 1.0, 10), Span("b", 1.0, 2.0, 1.0, 10)]
    assert figures.peak(held) == figures.Peak(cpu=2.0, memory_bytes=20, cells=2)


def test_room_is_free_when_the_worker_is_done_not_when_its_job_is_settled():
    told = [attempt(1, 1, 1, 0.0, 0.0, 1.0, ended=5.0), attempt(2, 2, 2, 1.5, 1.5, 1.0, ended=6.0)]
    assert figures.peak(figures.spans(told, {1: "a", 2: "a"})).cpu == 1.0


def test_an_attempt_without_a_measured_time_holds_until_it_was_settled():
    told = [attempt(1, 1, 1, 0.0, 0.0, None, ended=5.0), attempt(2, 2, 2, 1.5, 1.5, 1.0, ended=6.0)]
    assert figures.peak(figures.spans(told, {1: "a", 2: "a"})).cpu == 2.0


def test_who_leaves_as_another_comes_does_not_overlap_it():
    assert figures.peak([Span("a", 0, 1, 2.0, 7), Span("a", 1, 2, 2.0, 7)]).cpu == 2.0


def test_equal_shares_have_index_one():
    held = [Span("a", 0, 5, 1, 1), Span("b", 5, 10, 1, 1)]
    waits = {"a": [(0, 10)], "b": [(0, 10)]}
    found = figures.contest(held, waits, {"a": 1, "b": 1}, {0: 1.0, 1: 1.0})
    assert found is not None
    assert (found.jain, found.worst) == (1.0, 0.0)


def test_shares_are_measured_against_weights():
    held = [Span("a", 0, 2, 1, 1), Span("b", 2, 10, 1, 1)]
    waits = {"a": [(0, 10)], "b": [(0, 10)]}
    even = figures.contest(held, waits, {"a": 1, "b": 4}, {0: 1.0, 1: 1.0})
    uneven = figures.contest(held, waits, {"a": 1, "b": 1}, {0: 1.0, 1: 1.0})
    assert even is not None
    assert uneven is not None
    assert (even.jain, even.worst) == (1.0, 0.0)
    assert uneven.jain == pytest.approx(10**2 / (2 * (2**2 + 8**2)))
    assert uneven.worst == pytest.approx(0.6)


def test_who_wants_little_takes_no_part():
    held = [Span("a", 0, 5, 1, 1), Span("b", 5, 9, 1, 1), Span("c", 9, 10, 1, 1)]
    waits = {"a": [(0, 10)], "b": [(0, 10)], "c": [(0, 0.5), (9, 10)]}
    found = figures.contest(held, waits, dict.fromkeys("abc", 1.0), dict.fromkeys(range(3), 1.0))
    assert found is not None
    assert set(found.got_s) == {"a", "b"}


def test_one_source_is_no_contest():
    assert figures.contest([Span("a", 0, 5, 1, 1)], {"a": [(0, 5)]}, {"a": 1}, {0: 1.0}) is None


def test_cells_are_busy_by_what_they_held_in_the_window():
    assert figures.busy_share([Span("a", 0, 4, 1, 1), Span("a", 2, 8, 1, 1)], 0, 4, cells=2) == 0.75


def test_a_second_of_a_launch_costs_its_largest_share():
    assert Span("a", 0, 1, cpu=0.5, memory_bytes=30).share(cpu=2, memory_bytes=40, cells=4) == 0.75


def test_quantiles_of_little():
    assert math.isnan(figures.quantile([], 0.5))
    assert figures.quantile([3.0], 0.99) == 3.0
    assert figures.quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert figures.median([4.0, 1.0, 3.0, 2.0]) == 2.5


def test_a_rate_is_from_the_start_that_is_given():
    assert figures.rate([1.0, 2.0, 4.0], start=0.0) == 0.75
    assert figures.rate([]) == 0.0
