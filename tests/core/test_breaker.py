"""A source's fuse: opens on failures in a row, rests, tries one, and closes or rests longer."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.breaker import ASKED_MAX_S, CLOSED, Fuse, FusePolicy, Position, after, sentence, set_back
from farm.core.job import Outcome

NOW = 1_000_000.0
POLICY = FusePolicy(failures=3, cool_s=10.0, multiplier=2.0, max_s=60.0)


def blown(
    *outcomes: Outcome, fuse: Fuse = CLOSED, now: float = NOW, retry_after_s: float | None = None
) -> Fuse:
    for outcome in outcomes:
        fuse = after(
            fuse,
            outcome,
            now=now,
            policy=POLICY,
            unavailable=True,
            retry_after_s=retry_after_s,
            message="refused",
        )
    return fuse


def test_failures_in_a_row_open_it() -> None:
    assert blown(*[Outcome.TRANSIENT] * 2).position(NOW) is Position.CLOSED
    assert blown(*[Outcome.TRANSIENT] * 3).position(NOW) is Position.OPEN


@pytest.mark.parametrize("answer", [Outcome.SUCCEEDED, Outcome.INVALID_INPUT])
def test_an_answer_in_between_starts_the_count_anew(answer: Outcome) -> None:
    fuse = blown(Outcome.TRANSIENT, Outcome.TRANSIENT, answer, Outcome.TRANSIENT, Outcome.TRANSIENT)
    assert fuse.position(NOW) is Position.CLOSED


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome.CRASHED,
        Outcome.TIMED_OUT,
        Outcome.STALLED,
        Outcome.OUT_OF_MEMORY,
        Outcome.PERMANENT,
        Outcome.LOST,
    ],
)
def test_what_says_nothing_about_the_other_side_leaves_it_alone(outcome: Outcome) -> None:
    assert blown(*[outcome] * 9) == CLOSED


def test_a_failure_that_does_not_accuse_the_other_side_leaves_it_alone() -> None:
    fuse = CLOSED
    for _ in range(9):
        fuse = after(fuse, Outcome.TRANSIENT, now=NOW, policy=POLICY)
    assert fuse == CLOSED


def test_it_rests_then_tries_then_closes() -> None:
    fuse = blown(*[Outcome.TRANSIENT] * 3)
    assert fuse.position(NOW + 9.9) is Position.OPEN
    assert fuse.position(NOW + 10) is Position.HALF_OPEN
    assert blown(Outcome.SUCCEEDED, fuse=fuse, now=NOW + 11) == CLOSED


def test_a_failed_try_rests_longer_each_time_up_to_the_longest() -> None:
    fuse, now, rests = blown(*[Outcome.TRANSIENT] * 3), NOW, []
    for _ in range(5):
        assert fuse.until is not None
        rests.append(fuse.until - now)
        now = fuse.until
        fuse = blown(Outcome.TRANSIENT, fuse=fuse, now=now)
    assert rests == [10, 20, 40, 60, 60]


def test_late_failures_of_launches_from_before_do_not_lengthen_the_rest() -> None:
    fuse = blown(*[Outcome.TRANSIENT] * 3)
    assert blown(Outcome.TRANSIENT, fuse=fuse, now=NOW + 5).until == fuse.until


def test_a_retry_after_opens_it_at_once_and_late_luck_does_not_close_it() -> None:
    fuse = blown(Outcome.RATE_LIMITED, retry_after_s=30.0)
    assert fuse.until == NOW + 30
    assert blown(Outcome.SUCCEEDED, fuse=fuse, now=NOW + 1) == fuse
    assert blown(Outcome.SUCCEEDED, fuse=fuse, now=NOW + 31) == CLOSED


def test_an_open_fuse_says_why() -> None:
    assert sentence(CLOSED, NOW) == ""
    fuse = blown(*[Outcome.TRANSIENT] * 3)
    assert (
        sentence(fuse, NOW + 2.5)
        == "its source is given a rest of 8 s more after 3 failures in a row: refused"
    )
    assert sentence(fuse, NOW + 10) == ""


@given(
    st.lists(
        st.tuples(st.sampled_from(Outcome), st.floats(0, 100), st.none() | st.floats(-1, 1e9)), max_size=60
    )
)
def test_no_fuse_stays_open_for_longer_than_the_longest_rest(
    endings: list[tuple[Outcome, float, float | None]],
) -> None:
    fuse, now, asked = CLOSED, NOW, NOW
    for outcome, passed_s, asked_s in endings:
        now += passed_s
        fuse = after(fuse, outcome, now=now, policy=POLICY, unavailable=bool(now % 2), retry_after_s=asked_s)
        asked = max(asked, now + min(asked_s or 0, ASKED_MAX_S))
        assert fuse.position(max(now + POLICY.max_s, asked)) is not Position.OPEN
        assert bool(sentence(fuse, now)) == (fuse.position(now) is Position.OPEN)


def test_a_clock_that_was_set_back_does_not_make_a_rest_longer() -> None:
    """Ten years back: it rests for the seconds that were left; unseen, for a day at most."""
    ten_years_s = 10 * 365 * 86_400.0
    opened = Fuse(failures=5, opened=1, until=2_000_000_015.0)
    now = 2_000_000_000.0 - ten_years_s
    assert set_back(opened, 2_000_000_000.0, now).until == now + 15.0
    assert set_back(opened, math.inf, now).until == now + ASKED_MAX_S
    assert set_back(opened, math.inf, 2_000_000_005.0).until == opened.until
    assert set_back(CLOSED, 1.0, 0.0) == CLOSED
