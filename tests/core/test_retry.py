"""What follows an attempt, as a table; and what holds for every policy."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.job import Outcome, Reason
from farm.core.retry import (
    CLASSES,
    RETRY_AFTER_MAX_S,
    GoBack,
    Override,
    Quarantine,
    RetryAt,
    RetryPolicy,
    Strategy,
    after,
    counter,
    delay_s,
)

NOW = 1_000_000.0
POLICY = RetryPolicy(max_attempts=3, base_s=10.0, multiplier=2.0, max_s=60.0, jitter=0.0)
TOLD = [outcome for outcome in Outcome if outcome not in (Outcome.SUCCEEDED, Outcome.CANCELLED)]


def follow(outcome: Outcome, n: int = 1, **facts: Any) -> RetryAt | Quarantine | GoBack:
    """What follows the n-th ending of this kind."""
    counts = {"attempts": 0, "deaths": 0, "losses": 0}
    if counter(outcome):
        counts[counter(outcome)] = n
    return after(outcome, **{"policy": POLICY, "now": NOW, "chance": 0.5, **counts, **facts})


@pytest.mark.parametrize(
    ("outcome", "n", "expected"),
    [
        (Outcome.TRANSIENT, 1, RetryAt(NOW + 10, True)),
        (Outcome.TRANSIENT, 2, RetryAt(NOW + 20, True)),
        (Outcome.TRANSIENT, 3, Reason.CONNECTOR_ERROR),
        (Outcome.DEPENDENCY, 1, RetryAt(NOW + 10, True)),
        (Outcome.DEPENDENCY, 3, Reason.DEPENDENCY_FAILURE),
        (Outcome.RATE_LIMITED, 2, RetryAt(NOW + 20, True)),
        (Outcome.RATE_LIMITED, 3, Reason.RATE_LIMITED),
        (Outcome.TIMED_OUT, 2, RetryAt(NOW + 20, True)),
        (Outcome.TIMED_OUT, 3, Reason.TIMEOUT),
        (Outcome.INVALID_INPUT, 1, Reason.PARSE_ERROR),
        (Outcome.PERMANENT, 1, Reason.CONNECTOR_ERROR),
        (Outcome.STALLED, 1, RetryAt(NOW + 10, False)),
        (Outcome.STALLED, 2, Reason.TIMEOUT),
        (Outcome.CRASHED, 1, RetryAt(NOW + 10, False)),
        (Outcome.CRASHED, 2, Reason.WORKER_CRASHED),
        (Outcome.OUT_OF_MEMORY, 1, RetryAt(NOW + 10, False)),
        (Outcome.OUT_OF_MEMORY, 2, Reason.RESOURCE_EXHAUSTED),
        (Outcome.INTERRUPTED, 99, GoBack()),
        (Outcome.LOST, 4, GoBack()),
        (Outcome.LOST, 5, Reason.WORKER_CRASHED),
    ],
)
def test_what_follows_an_ending(outcome: Outcome, n: int, expected: RetryAt | Reason | GoBack) -> None:
    found = follow(outcome, n)
    assert (found.reason if isinstance(found, Quarantine) else found) == expected


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.CANCELLED])
def test_nothing_follows_an_end(outcome: Outcome) -> None:
    with pytest.raises(ValueError, match="nothing follows"):
        follow(outcome)


def test_a_retry_after_is_honoured_and_costs_no_attempt() -> None:
    assert follow(Outcome.RATE_LIMITED, 99, retry_after_s=300.0) == RetryAt(NOW + 300, False)


@pytest.mark.parametrize(("asked", "given_s"), [(-5.0, 0.0), (1e12, RETRY_AFTER_MAX_S), (float("nan"), 60.0)])
def test_an_absurd_retry_after_is_put_right(asked: float, given_s: float) -> None:
    assert follow(Outcome.RATE_LIMITED, retry_after_s=asked) == RetryAt(NOW + given_s, False)


def test_a_retry_after_is_never_cut_short_by_jitter() -> None:
    found = follow(Outcome.RATE_LIMITED, retry_after_s=30.0, policy=RetryPolicy(jitter=1.0), chance=0.9)
    assert isinstance(found, RetryAt)
    assert found.at >= NOW + 30


def test_out_of_memory_hands_on_what_to_reserve_next() -> None:
    assert follow(Outcome.OUT_OF_MEMORY, memory_bytes=512) == RetryAt(NOW + 10, False, 512)


def test_an_explicit_reason_wins() -> None:
    found = follow(Outcome.PERMANENT, reason=Reason.PERMISSION_DENIED, message="may not read a.txt")
    assert found == Quarantine(Reason.PERMISSION_DENIED, "may not read a.txt")


def test_the_message_says_how_often_it_was_tried() -> None:
    found = follow(Outcome.TRANSIENT, 3, message="connection refused")
    assert found == Quarantine(Reason.CONNECTOR_ERROR, "connection refused (gave up after 3 attempts)")
    found = follow(Outcome.CRASHED, 2, message="killed by SIGSEGV")
    assert found == Quarantine(Reason.WORKER_CRASHED, "killed by SIGSEGV (gave up after 2 dead workers)")
    assert follow(Outcome.LOST, 5) == Quarantine(
        Reason.WORKER_CRASHED, "the farm died 5 times while this job ran"
    )


def test_an_override_may_give_the_hopeless_a_chance() -> None:
    policy = RetryPolicy(jitter=0, overrides={Outcome.PERMANENT: Override(max_attempts=2, base_s=1.0)})
    assert follow(Outcome.PERMANENT, 1, policy=policy) == RetryAt(NOW + 1, True)
    assert isinstance(follow(Outcome.PERMANENT, 2, policy=policy), Quarantine)
    assert isinstance(follow(Outcome.INVALID_INPUT, 1, policy=policy), Quarantine)
    assert follow(Outcome.TRANSIENT, 1, policy=policy) == RetryAt(NOW + 10, True)


@pytest.mark.parametrize("outcome", sorted(set(TOLD) - {Outcome.INTERRUPTED, Outcome.LOST}))
def test_the_strategy_none_never_tries_again(outcome: Outcome) -> None:
    policy = RetryPolicy(strategy=Strategy.NONE)
    assert isinstance(follow(outcome, policy=policy, retry_after_s=5.0), Quarantine)


@pytest.mark.parametrize(
    ("strategy", "delays"),
    [
        (Strategy.EXPONENTIAL, [10, 20, 40, 60, 60]),
        (Strategy.LINEAR, [10, 20, 30, 40, 50]),
        (Strategy.FIXED, [10] * 5),
        (Strategy.IMMEDIATE, [0] * 5),
    ],
)
def test_delays_grow_as_the_strategy_says(strategy: Strategy, delays: list[float]) -> None:
    policy = RetryPolicy(strategy=strategy, base_s=10.0, max_s=60.0, jitter=0.0)
    assert [delay_s(policy, n, 0.5) for n in range(1, 6)] == delays


policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 50),
    strategy=st.sampled_from(Strategy),
    base_s=st.floats(0, 1e5),
    multiplier=st.floats(1, 100),
    max_s=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
    max_deaths=st.integers(1, 9),
    max_losses=st.integers(1, 9),
)
chances = st.floats(0, 1, exclude_max=True)


@given(policy=policies, n=st.integers(1, 5000), chance=chances)
def test_a_delay_is_never_negative_nor_beyond_the_longest(policy: RetryPolicy, n: int, chance: float) -> None:
    assert 0 <= delay_s(policy, n, chance) <= policy.max_s


@given(policy=policies, n=st.integers(1, 100), chance=chances)
def test_without_jitter_no_delay_is_shorter_than_the_one_before(
    policy: RetryPolicy, n: int, chance: float
) -> None:
    full = RetryPolicy(**{name: getattr(policy, name) for name in policy.__slots__} | {"jitter": 0.0})
    assert delay_s(full, n, chance) <= delay_s(full, n + 1, chance)


@given(policy=policies, outcome=st.sampled_from(TOLD), chance=chances)
def test_every_job_that_keeps_failing_ends_in_quarantine(
    policy: RetryPolicy, outcome: Outcome, chance: float
) -> None:
    most = max(policy.max_attempts, policy.max_deaths, policy.max_losses)
    found = follow(outcome, most, policy=policy, chance=chance)
    assert isinstance(found, GoBack if outcome is Outcome.INTERRUPTED else Quarantine)


@given(policy=policies, outcome=st.sampled_from(TOLD), chance=chances, n=st.integers(1, 60))
def test_a_retry_is_never_in_the_past(policy: RetryPolicy, outcome: Outcome, chance: float, n: int) -> None:
    found = follow(outcome, n, policy=policy, chance=chance)
    assert not isinstance(found, RetryAt) or found.at >= NOW


def test_the_classes_go_from_fast_to_patient() -> None:
    first = [delay_s(CLASSES[name], 1, 0.0) for name in ("fast", "conservative", "provider_safe")]
    assert first == sorted(first)
    assert len(set(first)) == 3
