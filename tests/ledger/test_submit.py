"""Jobs come in many at once: each unit's version once, and what was discarded not again."""

from __future__ import annotations

import sqlite3
from typing import Any, cast

import pytest

from farm.core.job import Event, Stage
from farm.ledger.jobs import SLICE_BYTES, NewJob
from farm.ledger.ledger import Ledger
from farm.operations import Operations
from farm.sources import departed
from tests.ledger.test_ledger import balanced, run_of


def keys(ledger: Ledger) -> list[tuple[str, str]]:
    return ledger.connection.execute(
        "SELECT key, version FROM job WHERE finished_at IS NULL ORDER BY id"
    ).fetchall()


def test_a_unit_that_comes_twice_at_once_is_one_job(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 0)
        twice = [
            NewJob(Stage.EXTRACT, "a", "1"),
            NewJob(Stage.EXTRACT, "b", "1"),
            NewJob(Stage.EXTRACT, "a", "1"),
        ]
        assert ledger.jobs.submit(run_id, "notes", twice, 1) == 2
    assert keys(ledger) == [("a", "1"), ("b", "1")]
    assert balanced(ledger)


@pytest.mark.parametrize("others", [0, 3])
def test_a_version_that_was_discarded_does_not_come_again_but_another_does(
    ledger: Ledger, others: int
) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 1 + others)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.jobs.move([1], Event.FAIL)
        ledger.jobs.move([1], Event.QUARANTINE, reason="parse_error")
        ledger.jobs.move([1], Event.DISCARD, reason="discarded")
        again = [NewJob(Stage.EXTRACT, f"k{i}", "1") for i in range(5)]
        assert ledger.jobs.submit(run_id, "notes", again, 1) == 4 - others
        assert ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, "k0", "2")], 1) == 1
        assert ledger.jobs.submit(run_id, "other", again[:1], 1) == 1
    assert ("k0", "2") in keys(ledger)
    assert balanced(ledger)


def test_what_a_program_submits_is_cleaned_as_what_a_listing_names(ledger: Ledger) -> None:
    """So that it is the same unit."""
    operations = Operations(ledger, {"notes": departed("notes")}, cast(Any, None))
    with ledger.transaction():
        asked = [{"key": "a\0b", "version": "1\0", "data": {"x": "\0"}}, {"key": "caf\udce9"}]
        operations.submit("notes", asked, actor="ada")
        specs = ledger.attempts.lease([1, 2], cpu=1, memory_bytes=1)
    assert keys(ledger) == [("ab", "1"), ("caf\ufffd", "")]
    assert specs[0].payload == '{"data": {"x": "\\u0000"}}'


@pytest.mark.parametrize("size", [1_000, 100_000])
def test_however_much_the_payloads_hold_no_bound_of_sqlite_is_met(ledger: Ledger, size: int) -> None:
    """SQLite's own is a gigabyte for a value; here it is lowered."""
    ledger.connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 5 * SLICE_BYTES // 4)
    units = [NewJob(Stage.EXTRACT, f"k{i}", payload=f'{{"data":"{i:0{size}}"}}') for i in range(200)]
    with ledger.transaction():
        run_id = run_of(ledger, 0)
        assert ledger.jobs.submit(run_id, "notes", units, 1) == len(units)
        specs = ledger.attempts.lease(range(1, len(units) + 1), cpu=1, memory_bytes=1)
    assert [(spec.key, spec.payload) for spec in specs] == [(unit.key, unit.payload) for unit in units]
    assert specs[0].stage is Stage.EXTRACT
    assert balanced(ledger)


def test_a_text_with_a_nul_is_refused(ledger: Ledger) -> None:
    with ledger.transaction(), pytest.raises(ValueError, match="NUL"):
        ledger.jobs.submit(run_of(ledger, 0), "notes", [NewJob(Stage.EXTRACT, "q\0r")], 1)
