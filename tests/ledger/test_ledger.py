"""The writer: what comes in, how it moves, and that run, tally and ticket follow in the same transaction."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from farm.core.job import Ending, Event, Outcome, RunState, RunType, Stage, Usage
from farm.core.lifecycle import IllegalTransition
from farm.errors import HomeUnusable, LedgerDamaged, NewerSchema
from farm.home import LEDGER, STORE
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import SCHEMA_VERSION, Ledger
from tests.ledger.conftest import Clock
from tests.resilience.schemas import load


def run_of(ledger: Ledger, n: int, *, source: str = "notes", priority: int = 1, version: str = "1") -> int:
    run_id = ledger.runs.create(source, RunType.INCREMENTAL, "manual")
    assert run_id is not None
    ledger.jobs.submit(run_id, source, [NewJob(Stage.EXTRACT, f"k{i}", version) for i in range(n)], priority)
    return run_id


def states(ledger: Ledger) -> list[str]:
    return [state for (state,) in ledger.connection.execute("SELECT state FROM job ORDER BY id")]


def balanced(ledger: Ledger) -> bool:
    """Tally and tickets are what the jobs say."""
    tally = dict(ledger.connection.execute("SELECT state, sum(n) FROM tally GROUP BY 1 HAVING sum(n) > 0"))
    jobs = dict(ledger.connection.execute("SELECT state, count(*) FROM job GROUP BY 1"))
    tickets = [i for (i,) in ledger.connection.execute("SELECT id FROM task ORDER BY id")]
    ticketed = ledger.connection.execute(
        "SELECT id FROM job WHERE state IN ('pending', 'running', 'retrying') ORDER BY id"
    )
    return tally == jobs and tickets == [i for (i,) in ticketed]


def run_state_of(ledger: Ledger, run_id: int) -> RunState:
    return RunState(ledger.connection.execute("SELECT state FROM run WHERE id = ?", (run_id,)).fetchone()[0])


def test_a_submitted_job_has_a_ticket_and_a_transition(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 3)
    assert states(ledger) == ["pending"] * 3
    assert balanced(ledger)
    rows = ledger.connection.execute("SELECT job_id, from_state, to_state, event FROM transition").fetchall()
    assert rows == [(i, None, "pending", "submit") for i in (1, 2, 3)]


def test_an_unfinished_job_is_not_submitted_twice(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 3)
        again = [NewJob(Stage.EXTRACT, "k1", "1"), NewJob(Stage.EXTRACT, "new", "1")]
        assert ledger.jobs.submit(run_id, "notes", again, 1) == 1
    assert len(states(ledger)) == 4
    assert balanced(ledger)


def test_a_finished_job_makes_room_for_its_replay(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 1)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.jobs.move([1], Event.SUCCEED)
        assert ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, "k0", "1")], 1) == 1


def test_a_newer_version_takes_the_place_of_what_waits_for_an_older_one(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 2)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        run_of(ledger, 2, version="2")
    assert states(ledger) == ["running", "cancelled", "pending", "pending"]
    assert balanced(ledger)


def test_a_discarded_version_is_not_tried_again_but_the_next_one_is(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 1)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.jobs.move([1], Event.FAIL)
        ledger.jobs.move([1], Event.QUARANTINE, reason="parse_error")
        ledger.jobs.move([1], Event.DISCARD, reason="discarded")
        assert ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, "k0", "1")], 1) == 0
        assert ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, "k0", "2")], 1) == 1


def test_an_illegal_move_raises_and_changes_nothing(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 2)
    with pytest.raises(IllegalTransition), ledger.transaction():
        ledger.jobs.move([1, 2], Event.SUCCEED)
    assert states(ledger) == ["pending", "pending"]
    assert balanced(ledger)


def test_a_lease_gives_growing_fences_and_keeps_the_ticket(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 3)
        first = ledger.attempts.lease([2, 1], cpu=0.5, memory_bytes=7)
        second = ledger.attempts.lease([3], cpu=0.5, memory_bytes=7)
    assert [(s.job_id, s.attempt_id) for s in first + second] == [(2, 1), (1, 2), (3, 3)]
    attempts = ledger.connection.execute(
        "SELECT job_id, launch_id, number FROM attempt ORDER BY id"
    ).fetchall()
    assert attempts == [(2, 1, 1), (1, 1, 1), (3, 3, 1)]
    assert ledger.tickets.heads("notes", 10) == ()
    assert balanced(ledger)


def test_a_leased_job_cannot_be_leased_again(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 1)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
    with pytest.raises(IllegalTransition), ledger.transaction():
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)


def test_a_retry_waits_until_it_is_due(ledger: Ledger, clock: Clock) -> None:
    with ledger.transaction():
        run_of(ledger, 1)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.jobs.move([1], Event.FAIL, attempts="attempts + 1")
        ledger.jobs.move([1], Event.RETRY, due_at=clock.now + 30)
        assert ledger.tickets.ripen(clock.now + 29) == clock.now + 30
        assert ledger.tickets.heads("notes", 10) == ()
        assert ledger.tickets.ripen(clock.now + 30) is None
        assert [ticket.job_id for ticket in ledger.tickets.heads("notes", 10)] == [1]
    assert states(ledger) == ["retrying"]
    assert balanced(ledger)


def test_every_class_of_priority_shows_its_heads(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 5, priority=2)
        low = ledger.runs.create("notes", RunType.FULL, "manual")
        assert low
        ledger.jobs.submit(low, "notes", [NewJob(Stage.EXTRACT, "low", "1")], 0)
        assert [ticket.job_id for ticket in ledger.tickets.heads("notes", 2)] == [1, 2, 6]


def test_a_run_is_partial_with_one_bad_unit_and_whole_again_after_its_retry(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 2)
        ledger.attempts.lease([1, 2], cpu=1, memory_bytes=1)
    assert run_state_of(ledger, run_id) is RunState.RUNNING
    with ledger.transaction():
        ledger.attempts.close([Ending(1, 1, Outcome.SUCCEEDED), Ending(2, 2, Outcome.TRANSIENT)])
        ledger.jobs.move([1], Event.SUCCEED)
        ledger.jobs.move([2], Event.FAIL)
        ledger.jobs.move([2], Event.QUARANTINE)
    assert run_state_of(ledger, run_id) is RunState.PARTIAL
    with ledger.transaction():
        ledger.jobs.move([2], Event.RETRY)
        ledger.attempts.lease([2], cpu=1, memory_bytes=1)
        ledger.jobs.move([2], Event.SUCCEED)
    assert run_state_of(ledger, run_id) is RunState.SUCCEEDED
    assert balanced(ledger)


@pytest.mark.parametrize("end", [Event.SUPERSEDE, Event.DISCARD])
def test_a_run_whose_listing_failed_stays_failed_when_the_next_one_comes(ledger: Ledger, end: Event) -> None:
    with ledger.transaction():
        run_id = ledger.runs.create("notes", RunType.INCREMENTAL, "manual")
        assert run_id
        ledger.jobs.submit(run_id, "notes", [NewJob(Stage.DISCOVER)], 1)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.jobs.move([1], Event.FAIL)
        ledger.jobs.move([1], Event.QUARANTINE, reason="connector_error")
    assert run_state_of(ledger, run_id) is RunState.FAILED
    with ledger.transaction():
        ledger.jobs.move([1], end, reason="discarded" if end is Event.DISCARD else None)
    assert run_state_of(ledger, run_id) is RunState.FAILED
    assert balanced(ledger)


def test_a_run_whose_listing_was_cancelled_before_it_failed_is_cancelled(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = ledger.runs.create("notes", RunType.INCREMENTAL, "manual")
        assert run_id
        ledger.jobs.submit(run_id, "notes", [NewJob(Stage.DISCOVER)], 1)
    with ledger.transaction():
        ledger.jobs.move([1], Event.CANCEL, outcome=Outcome.CANCELLED)
    assert run_state_of(ledger, run_id) is RunState.CANCELLED


def test_an_attempt_keeps_what_it_used(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 1)
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.attempts.close([Ending(1, 1, Outcome.SUCCEEDED, usage=Usage(1.5, 0.5, 2**20), exit=0)])
    row = ledger.connection.execute(
        "SELECT outcome, wall_s, cpu_s, memory_peak_bytes, exit FROM attempt"
    ).fetchone()
    assert row == ("succeeded", 1.5, 0.5, 2**20, 0)


def test_the_same_fire_of_a_schedule_has_one_run(ledger: Ledger) -> None:
    with ledger.transaction():
        assert ledger.runs.create("notes", RunType.FULL, "every", trigger_key="notes@1") == 1
        assert ledger.runs.create("notes", RunType.FULL, "every", trigger_key="notes@1") is None


def test_a_part_that_fails_fails_alone(ledger: Ledger) -> None:
    with ledger.transaction():
        run_of(ledger, 1)
        with pytest.raises(RuntimeError), ledger.savepoint():
            run_of(ledger, 5, source="other")
            raise RuntimeError
    assert len(states(ledger)) == 1
    assert balanced(ledger)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(path).close()
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(NewerSchema, match="newer farm"):
        Ledger.open(path)


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"not a database" * 1000)
    with pytest.raises(LedgerDamaged):
        Ledger.open(path)
    assert path.read_bytes() == b"not a database" * 1000


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HomeUnusable, match="missing"):
        Ledger.open(tmp_path / "missing" / "ledger.db")


def test_only_the_owner_may_read_the_ledger(tmp_path: Path, ledger: Ledger) -> None:
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


def test_a_ledger_of_the_first_version_gets_what_came_since(tmp_path: Path) -> None:
    load(tmp_path, {LEDGER: 1, STORE: 1})
    ledger = Ledger.open(tmp_path / LEDGER)
    db = ledger.connection
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert db.execute("SELECT count(*) FROM fuse").fetchone() == (0,)
    wrong = "SELECT count(*) FROM job WHERE (finished_at IS NULL) = (state = 'succeeded')"
    assert db.execute(wrong).fetchone() == (0,)
    assert (tmp_path / f"{LEDGER}.v1.bak").exists()
    ledger.close()


@pytest.mark.parametrize("state", ["retrying", "quarantined", "paused"])
def test_jobs_that_rest_are_found_without_reading_all(ledger: Ledger, state: str) -> None:
    rows = ledger.connection.execute(
        "EXPLAIN QUERY PLAN SELECT id FROM job WHERE id < 5 AND state = ? ORDER BY id DESC LIMIT 10", (state,)
    ).fetchall()
    assert ["job_attention" in row[3] for row in rows] == [True]
