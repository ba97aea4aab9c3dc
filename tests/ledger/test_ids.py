"""Many jobs at once: whether their ids are a run without gaps or not, the same comes of it."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from farm.core.job import Event, Stage, State
from farm.core.lifecycle import IllegalTransition
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from tests.ledger.test_ledger import balanced, run_of

RUN, GAPS, BACKWARDS = [3, 4, 5], [1, 3, 7], [6, 5, 4]


@pytest.fixture
def ten(ledger: Ledger) -> Ledger:
    """Jobs 1 to 10 of two runs, pending."""
    with ledger.transaction():
        run_of(ledger, 4)
        run_of(ledger, 6, source="mail")
    return ledger


@pytest.mark.parametrize("ids", [RUN, GAPS, BACKWARDS, [10]], ids=str)
def test_a_lease_gives_attempts_in_the_order_of_the_jobs(ten: Ledger, ids: list[int]) -> None:
    with ten.transaction():
        ten.attempts.lease([2], cpu=1, memory_bytes=1)
        specs = ten.attempts.lease(ids, cpu=0.5, memory_bytes=7)
    assert [(spec.job_id, spec.attempt_id) for spec in specs] == [(job, n) for n, job in enumerate(ids, 2)]
    attempts = ten.connection.execute(
        "SELECT id, job_id, number, launch_id FROM attempt WHERE id > 1 ORDER BY id"
    )
    assert attempts.fetchall() == [(n, job, 1, 2) for n, job in enumerate(ids, 2)]
    leases = ten.connection.execute("SELECT id, lease FROM task WHERE lease > 1 ORDER BY lease")
    assert leases.fetchall() == [(job, n) for n, job in enumerate(ids, 2)]
    assert balanced(ten)


@pytest.mark.parametrize("ids", [RUN, GAPS, BACKWARDS], ids=str)
def test_jobs_in_several_states_and_runs_move_together(ten: Ledger, ids: list[int]) -> None:
    with ten.transaction():
        ten.attempts.lease(ids[:1], cpu=1, memory_bytes=1)
        moved = ten.jobs.move(ids, Event.CANCEL, actor="ada")
    assert sorted(moved) == sorted(ids)
    rows = ten.connection.execute(
        "SELECT job_id, from_state FROM transition WHERE event = 'cancel' ORDER BY job_id"
    )
    assert rows.fetchall() == [
        (job, State.RUNNING if job == ids[0] else State.PENDING) for job in sorted(ids)
    ]
    assert balanced(ten)


def test_what_may_not_move_is_passed_over_or_raises_and_nothing_moves(ten: Ledger) -> None:
    with ten.transaction():
        ten.attempts.lease([4], cpu=1, memory_bytes=1)
        with pytest.raises(IllegalTransition):
            ten.jobs.move(RUN, Event.SUCCEED)
        assert ten.jobs.move(RUN, Event.SUCCEED, strict=False) == [4]
    assert balanced(ten)


def test_ids_that_are_not_there_or_come_twice_count_once_or_not_at_all(ten: Ledger) -> None:
    with ten.transaction():
        assert ten.jobs.move([9, 10, 11, 12], Event.PAUSE) == [9, 10]
        assert ten.jobs.move([1, 1, 99], Event.PAUSE) == [1]
        assert ten.jobs.move([], Event.PAUSE) == []
    assert balanced(ten)


@pytest.mark.parametrize(
    "key", ['"', "\\", "line\nbreak\x01\x7f", "Übung 🐄", "\u2028", "'; --", "[1]", "{}"]
)
def test_keys_and_payloads_come_back_as_they_went_in(ledger: Ledger, key: str) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 0)
        ledger.jobs.submit(
            run_id, "notes", [NewJob(Stage.EXTRACT, key, key, payload='{"data":{"a":"\\"é"}}')], 2
        )
        (head,) = ledger.tickets.heads("notes", 5)
        (spec,) = ledger.attempts.lease([head.job_id], cpu=1, memory_bytes=1)
    assert (head.stage, head.priority, head.waiting_since) == (Stage.EXTRACT, 2, 1_000_000.0)
    assert (spec.key, spec.version, spec.payload) == (key, key, '{"data":{"a":"\\"é"}}')


def test_heads_are_the_first_of_each_class_the_highest_class_first(ledger: Ledger) -> None:
    with ledger.transaction():
        run_id = run_of(ledger, 0)
        for priority in (0, 2, 1):
            units = [NewJob(Stage.EXTRACT, f"k{priority}{i}") for i in range(3)]
            ledger.jobs.submit(run_id, "notes", units, priority)
    assert [(head.job_id, int(head.priority)) for head in ledger.tickets.heads("notes", 2)] == [
        (4, 2), (5, 2), (7, 1), (8, 1), (1, 0), (2, 0),
    ]  # fmt: skip
    assert ledger.tickets.heads("nobody", 2) == ()


def test_an_id_that_no_job_can_have_is_no_job(ten: Ledger) -> None:
    huge = 2**63
    assert ten.jobs.facts([huge]) == {}
    with ten.transaction():
        assert ten.jobs.move([huge], Event.CANCEL) == []
        assert ten.jobs.move([2**80, 1], Event.CANCEL) == [1]


def test_an_event_moves_each_job_once_though_it_leads_from_where_others_arrive(ten: Ledger) -> None:
    with ten.transaction():
        ten.attempts.lease([1, 2], cpu=1, memory_bytes=1)
        ten.jobs.move([1, 2], Event.FAIL)
        ten.jobs.move([1], Event.RETRY, due_at=5.0)
        assert sorted(ten.jobs.move([1, 2], Event.RETRY, due_at=5.0)) == [1, 2]
    rows = ten.connection.execute("SELECT state FROM job WHERE id < 3 ORDER BY id").fetchall()
    assert rows == [("pending",), ("retrying",)]
    assert balanced(ten)


def test_a_step_is_one_moment(tmp_path: Path) -> None:
    """Though the clock goes on while it is written."""
    ticks = count(1_000_000.0)
    ledger = Ledger.open(tmp_path / "ledger.db", clock=lambda: next(ticks))
    with ledger.transaction():
        run_of(ledger, 3)
        ledger.attempts.lease([1, 2, 3], cpu=1, memory_bytes=1)
        ledger.jobs.move([1, 2, 3], Event.SUCCEED)
    late = ledger.connection.execute(
        "SELECT job.id FROM job JOIN transition ON job_id = job.id"
        " WHERE event = 'submit' AND at <> created_at OR event = 'succeed' AND at <> updated_at"
    )
    assert late.fetchall() == []
    before = ledger.connection.execute(
        "SELECT count(*) FROM attempt JOIN transition USING (job_id) WHERE event = 'lease' AND started_at <= at"
    )
    assert before.fetchone() == (3,)
    ledger.close()
