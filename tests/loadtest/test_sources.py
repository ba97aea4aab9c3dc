"""The measure of sources runs, and counts what was there."""

from __future__ import annotations

from loadtest.sources import measure


def test_each_source_is_read_whole_and_again() -> None:
    found = list(measure(notes=30, files=12))
    assert [(source, what) for source, what, _, _ in found] == [
        (source, what)
        for source in ("vault", "repository")
        for what in ("first run", "nothing new", "10 changed")
    ]
    assert [documents for *_, documents in found] == [30, 30, 30, 42, 42, 42]
    assert all(seconds > 0 for _, _, seconds, _ in found)
