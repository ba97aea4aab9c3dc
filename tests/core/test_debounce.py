"""Many touches count as one, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.core.debounce import Debounce

QUIET_S, MAX_WAIT_S = 0.3, 2.0


def debounce() -> Debounce[str]:
    return Debounce(QUIET_S, MAX_WAIT_S)


def test_a_key_is_due_once_it_has_been_quiet() -> None:
    touched = debounce()
    touched.touch("a", 10.0)
    assert touched.next_due() == pytest.approx(10.3)
    assert touched.due(10.29) == []
    assert touched.due(10.31) == ["a"]
    assert touched.next_due() is None


def test_a_touch_puts_it_off() -> None:
    touched = debounce()
    touched.touch("a", 10.0)
    touched.touch("a", 10.2)
    assert touched.due(10.4) == []
    assert touched.due(10.5) == ["a"]


def test_a_key_that_is_touched_without_end_is_due_all_the_same() -> None:
    touched = debounce()
    came = []
    for i in range(100):
        touched.touch("a", 10.0 + i * 0.1)
        came += [10.0 + i * 0.1] * len(touched.due(10.0 + i * 0.1))
    assert came[0] == pytest.approx(12.0)
    assert len(came) == 4


def test_keys_come_due_on_their_own_the_earliest_first() -> None:
    touched = debounce()
    touched.touch("a", 10.0)
    touched.touch("b", 10.1)
    touched.touch("a", 10.2)
    assert touched.due(11.0) == ["b", "a"]


def test_a_forgotten_key_does_not_come_due() -> None:
    touched = debounce()
    for key in "abc":
        touched.touch(key, 10.0)
    touched.forget("b")
    touched.forget("nobody")
    assert touched.due(11.0) == ["a", "c"]


def test_a_key_that_came_due_may_come_again() -> None:
    touched = debounce()
    touched.touch("a", 10.0)
    assert touched.due(11.0) == ["a"]
    touched.touch("a", 11.0)
    assert len(touched) == 1
    assert touched.due(12.0) == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 0.7)), max_size=80))
def test_no_touch_is_lost_and_none_waits_beyond_its_bounds(touches: list[tuple[str, float]]) -> None:
    touched, now = debounce(), 0.0
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    for key, passed_s in touches:
        now += passed_s
        for due in touched.due(now):
            assert now >= min(last[due] + QUIET_S, first[due] + MAX_WAIT_S)
            del first[due], last[due]
        waiting = touched.next_due()
        assert waiting == min((min(last[k] + QUIET_S, first[k] + MAX_WAIT_S) for k in first), default=None)
        assert waiting is None or waiting > now
        touched.touch(key, now)
        first.setdefault(key, now)
        last[key] = now
    assert set(touched.due(now + QUIET_S + 0.001)) == set(first)
    assert len(touched) == 0
