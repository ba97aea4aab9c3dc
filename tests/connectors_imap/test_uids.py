from __future__ import annotations

import doctest

from hypothesis import given
from hypothesis import strategies as st

from connectors.files import headers
from connectors.imap_mail import faults, folders, options, place, uids
from connectors.imap_mail.uids import Uids

some = st.sets(st.integers(1, 60))


@given(some, some)
def test_uids_are_sets(a: set[int], b: set[int]) -> None:
    left, right = Uids(a), Uids(b)
    assert set(left | right) == a | b
    assert set(left - right) == a - b
    assert set(left & right) == a & b
    assert len(left) == len(a)
    assert {uid for uid in range(70) if uid in left} == a
    assert str(Uids.parse(str(left))) == str(left)


@given(some, st.integers(1, 9))
def test_newest_first_gives_all_from_the_highest_down(a: set[int], size: int) -> None:
    chunks = list(Uids(a).newest_first(size))
    assert [uid for chunk in chunks for uid in reversed(chunk)] == sorted(a, reverse=True)
    assert all(len(chunk) <= size for chunk in chunks)


def test_the_examples_in_the_docstrings_hold() -> None:
    for module in (uids, place, options, folders, faults, headers):
        assert doctest.testmod(module).failed == 0
