"""Huey on the ledger: the same messages, a lease instead of a deletion, and counts that tell the truth."""

from __future__ import annotations

import json

from farm.core.job import Event, RunType, Stage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from tests.ledger.conftest import Clock


def submit(ledger: Ledger, keys: list[str], type_: RunType = RunType.FULL) -> None:
    run_id = ledger.runs.create("notes", type_, "manual")
    assert run_id
    ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, key) for key in keys], 1)


def test_a_ticket_made_in_bulk_is_the_message_huey_would_write(ledger: Ledger) -> None:
    with ledger.transaction():
        submit(ledger, ["a"])
        submit(ledger, ["b"], RunType.EVENT)
    lane = ledger.lane("notes")
    for job_id, priority in ((1, 1.0), (2, 1.5)):
        task = lane.tasks[Stage.EXTRACT].s(job_id, priority=priority, id=str(job_id))
        row = ledger.connection.execute("SELECT data, priority FROM task WHERE id = ?", (job_id,)).fetchone()
        assert bytes(row[0]) == lane.serialize_task(task)
        assert row[1] == priority


def test_huey_reads_the_tasks_that_wait(ledger: Ledger) -> None:
    with ledger.transaction():
        submit(ledger, ["a", "b"])
    pending = ledger.lane("notes").pending()
    assert [(task.name, task.args) for task in pending] == [("extract", (1,)), ("extract", (2,))]
    assert ledger.lane("notes").pending_count() == 2
    assert ledger.lane("other").pending_count() == 0


def test_dequeue_leases_and_keeps_the_ticket(ledger: Ledger) -> None:
    with ledger.transaction():
        submit(ledger, ["a", "b"])
    lane = ledger.lane("notes")
    task = lane.dequeue()
    assert task.args == (1,)
    assert ledger.connection.execute("SELECT lease FROM task WHERE id = 1").fetchone() == (1,)
    assert lane.pending_count() == 1
    assert lane.dequeue().args == (2,)
    assert lane.dequeue() is None


def test_a_retry_is_scheduled_in_hueys_eyes(ledger: Ledger, clock: Clock) -> None:
    with ledger.transaction():
        submit(ledger, ["a"])
        ledger.attempts.lease([1], cpu=1, memory_bytes=1)
        ledger.jobs.move([1], Event.FAIL)
        ledger.jobs.move([1], Event.RETRY, due_at=clock.now + 5)
    lane = ledger.lane("notes")
    assert (lane.pending_count(), lane.scheduled_count()) == (0, 1)
    assert [task.args for task in lane.scheduled()] == [(1,)]


def test_enqueue_takes_part_in_the_ledgers_transaction(ledger: Ledger) -> None:
    lane = ledger.lane("notes")
    try:
        with ledger.transaction():
            lane.tasks[Stage.EXTRACT](77)
            assert ledger.connection.execute("SELECT count(*) FROM task").fetchone() == (1,)
            raise RuntimeError
    except RuntimeError:
        pass
    assert ledger.connection.execute("SELECT count(*) FROM task").fetchone() == (0,)


def test_messages_are_json_with_a_job_id_and_nothing_else(ledger: Ledger) -> None:
    with ledger.transaction():
        submit(ledger, ["secret/path.txt"])
    message = json.loads(bytes(ledger.connection.execute("SELECT data FROM task").fetchone()[0]))
    assert message == {"id": "1", "name": "farm.ledger.queue.extract", "priority": 1.0, "args": [1]}
