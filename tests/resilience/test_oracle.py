"""The oracle's own log is believed in; so it is tested, too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm.core.job import Event, RunType, Stage
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from farm.store.store import Store
from tests.resilience.oracle import Log, Oracle


def test_a_line_that_was_cut_short_by_its_writers_death_takes_no_other_with_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.add(n=1)
    os.write(log._fd, b'\n{"n": 2, "key": "o')
    log.add(n=3)
    facts, end = Log.read(log.path)
    assert [fact["n"] for fact in facts] == [1, 3]
    log.add(n=4)
    assert [fact["n"] for fact in Log.read(log.path, end)[0]] == [4]
    log.close()


def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.jsonl")
    log.add(n=1)
    os.write(log._fd, b'\n{"n": 2')
    facts, end = Log.read(log.path)
    os.write(log._fd, b', "key": "ok"}\n')
    assert [fact["n"] for fact in facts] == [1]
    assert [fact["n"] for fact in Log.read(log.path, end)[0]] == [2]
    log.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """With a job that was paused and resumed, and a store beside it that is empty."""
    Store.open(tmp_path / "store.db").close()
    (tmp_path / "spool").mkdir()
    ledger = Ledger.open(tmp_path / "ledger.db")
    with ledger.transaction():
        run = ledger.runs.create("work", RunType.EVENT, "submit")
        ledger.jobs.submit(run, "work", [NewJob(Stage.EXTRACT, "ok-1", "2")], 1)
        ledger.jobs.move([1], Event.PAUSE)
        ledger.jobs.move([1], Event.RESUME)
    yield ledger
    ledger.close()


def test_a_look_reads_on_and_finds_an_illegal_move_that_came_since(tmp_path: Path, ledger: Ledger) -> None:
    oracle = Oracle(tmp_path / "oracle")
    assert oracle.look(tmp_path) == []
    with ledger.transaction():
        ledger.jobs.move([1], Event.CANCEL)
    assert oracle.look(tmp_path) == []
    ledger.connection.execute("UPDATE job SET state = 'pending'")
    assert oracle.look(tmp_path) == ["job 1 is pending, its transitions say cancelled"]
    ledger.connection.execute(
        "INSERT INTO transition (job_id, from_state, to_state, event, cause, actor, at)"
        " VALUES (1, 'cancelled', 'pending', 'retry', '', '', 0)"
    )
    assert oracle.look(tmp_path) == ["job 1: cancelled -retry-> pending is not legal"]


def test_a_transition_that_was_read_and_is_gone_is_missed(tmp_path: Path, ledger: Ledger) -> None:
    oracle = Oracle(tmp_path / "oracle")
    assert oracle.look(tmp_path) == []
    ledger.connection.execute("DELETE FROM transition WHERE id = 2")
    assert oracle.look(tmp_path) == ["3 transitions were there, of which 2 are left"]


def test_in_the_end_every_transition_is_read_once_more(tmp_path: Path, ledger: Ledger) -> None:
    oracle = Oracle(tmp_path / "oracle")
    assert oracle.look(tmp_path) == []
    ledger.connection.execute("UPDATE transition SET event = 'lease' WHERE id = 2")
    assert oracle.look(tmp_path) == []
    assert oracle.settle(tmp_path) == ["job 1: pending -lease-> paused is not legal"]
