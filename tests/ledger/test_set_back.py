"""A wall clock that is set back makes nobody wait for years, and tells no unit gone that was just listed."""

from __future__ import annotations

from farm.core.job import Event, Outcome, RunType, Stage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from tests.ledger.conftest import Clock

YEARS_S = 10 * 365.25 * 86400


def listed(ledger: Ledger, *keys: str) -> int:
    """A listing's attempt names these units; its id."""
    run_id = ledger.runs.create("notes", RunType.INCREMENTAL, "manual")
    assert run_id is not None
    job_id = ledger.jobs.next_id()
    ledger.jobs.submit(run_id, "notes", [NewJob(Stage.DISCOVER)], 1)
    attempt = ledger.attempts.lease([job_id], cpu=1.0, memory_bytes=1)[0].attempt_id
    ledger.clock.now -= 3600  # type: ignore[attr-defined]
    ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, key, "1") for key in keys], 1, listed=True)
    ledger.jobs.move([job_id], Event.SUCCEED)
    return attempt


def test_a_retry_waits_its_delay_and_not_for_the_time_that_was(ledger: Ledger, clock: Clock) -> None:
    with ledger.transaction():
        run_id = ledger.runs.create("notes", RunType.INCREMENTAL, "manual")
        assert run_id is not None
        ledger.jobs.submit(
            run_id, "notes", [NewJob(Stage.EXTRACT, "a", "1"), NewJob(Stage.EXTRACT, "b", "1")], 1
        )
        ledger.attempts.lease([1], cpu=1.0, memory_bytes=1)
        ledger.jobs.move([1], Event.FAIL, outcome=Outcome.TRANSIENT)
        ledger.jobs.move([1], Event.RETRY, due_at=clock.now + 60)
        clock.now -= YEARS_S
        ledger.tickets.set_back(clock.now)
        assert ledger.tickets.next_due() == clock.now + 60
        assert ledger.connection.execute("SELECT due_at FROM job WHERE id = 1").fetchone() == (
            clock.now + 60,
        )
        assert [head.waiting_since for head in ledger.tickets.heads("notes", 5)] == [clock.now]
        ledger.tickets.set_back(clock.now + 30)  # nothing is dated later than this
        assert ledger.tickets.next_due() == clock.now + 60


def test_what_a_listing_names_is_not_gone_though_the_clock_went_back_meanwhile(ledger: Ledger) -> None:
    with ledger.transaction():
        first = listed(ledger, "a", "b")
        ledger.jobs.cancel_unlisted("notes", first)
        states = "SELECT state FROM job WHERE stage = 'extract' ORDER BY key"
        assert ledger.connection.execute(states).fetchall() == [("pending",), ("pending",)]
        second = listed(ledger, "b")
        ledger.jobs.cancel_unlisted("notes", second)
        assert ledger.connection.execute(states).fetchall() == [("cancelled",), ("pending",)]
