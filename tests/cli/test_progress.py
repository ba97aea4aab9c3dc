from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from farm import home as homes
from farm.cli import progress
from farm.cli.progress import Watcher
from farm.core.job import Event, Outcome, RunType, Stage
from farm.ledger import views
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger


class Work:
    """Runs of one job each, ended at will."""

    def __init__(self, home: Path) -> None:
        homes.prepare(home)
        self.ledger = Ledger.open(home / homes.LEDGER)

    def begin(self, source: str, jobs: int = 1) -> int:
        with self.ledger.transaction():
            run_id = self.ledger.runs.create(source, RunType.FULL, "manual")
            assert run_id is not None
            new = [NewJob(Stage.EXTRACT, f"{run_id}.{n}", "1") for n in range(jobs)]
            self.ledger.jobs.submit(run_id, source, new, 1)
        return run_id

    def succeed(self, run_id: int, *, new: int = 0, count: int | None = None) -> None:
        ids = [row["id"] for row in views.jobs(self.ledger_db(), run_id=run_id) if row["state"] == "pending"]
        with self.ledger.transaction():
            some = ids[:count]
            self.ledger.attempts.lease(some, cpu=1.0, memory_bytes=1)
            self.ledger.jobs.move(some, Event.SUCCEED, outcome=Outcome.SUCCEEDED)
            self.ledger.connection.execute(
                "UPDATE attempt SET outcome = 'succeeded', ended_at = started_at, wall_s = 0 WHERE outcome IS NULL"
            )
            self.ledger.runs.count_documents(ids[0], new=new)

    def fail(self, run_id: int, message: str, *, for_s: float) -> None:
        (row,) = views.jobs(self.ledger_db(), run_id=run_id)
        with self.ledger.transaction():
            if row["state"] == "retrying":
                self.ledger.jobs.move([row["id"]], Event.RETRY)
            self.ledger.attempts.lease([row["id"]], cpu=1.0, memory_bytes=1)
            self.ledger.jobs.move([row["id"]], Event.FAIL, outcome=Outcome.TRANSIENT, message=message)
            self.ledger.connection.execute(
                "UPDATE attempt SET outcome = 'transient', ended_at = started_at, wall_s = 0 WHERE outcome IS NULL"
            )
            self.ledger.jobs.move([row["id"]], Event.RETRY, due_at=time.time() + for_s)

    def give_up(self, run_id: int) -> None:
        """One of its jobs goes to quarantine."""
        first = next(
            row["id"] for row in views.jobs(self.ledger_db(), run_id=run_id) if row["state"] == "pending"
        )
        with self.ledger.transaction():
            self.ledger.attempts.lease([first], cpu=1.0, memory_bytes=1)
            self.ledger.jobs.move([first], Event.FAIL, outcome=Outcome.PERMANENT)
            self.ledger.connection.execute(
                "UPDATE attempt SET outcome = 'permanent', ended_at = started_at, wall_s = 0 WHERE outcome IS NULL"
            )
            self.ledger.jobs.move([first], Event.QUARANTINE, reason="parse_error")

    def try_again(self, run_id: int) -> None:
        db = self.ledger_db()
        with self.ledger.transaction():
            self.ledger.jobs.move([row["job_id"] for row in views.quarantine(db)], Event.RETRY, reason="")

    def ledger_db(self) -> sqlite3.Connection:
        return views.connect(self.ledger.path.parent)


@pytest.fixture
def work(home: Path) -> Work:
    return Work(home)


def ids(rows: list[views.Row]) -> list[int]:
    return [row["id"] for row in rows]


def test_a_run_is_followed_to_its_end(home: Path, work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    watcher = Watcher(views.connect(home))
    run_id = work.begin("notes", jobs=3)
    assert watcher.look() == []
    work.succeed(run_id, count=1)
    assert watcher.look() == []
    assert not watcher.quiet
    work.succeed(run_id, new=2)
    assert ids(watcher.look()) == [run_id]
    assert watcher.quiet
    assert f"notes: run {run_id} succeeded in " in (said := capsys.readouterr().err)
    assert said.endswith(": 2 new\n")
    assert watcher.look() == []
    watcher.close()


def test_runs_shorter_than_a_look_are_reported_too(home: Path, work: Work) -> None:
    old = work.begin("notes")
    work.succeed(old)
    watcher = Watcher(views.connect(home), last=old)
    first, second = work.begin("notes"), work.begin("mail")
    work.succeed(first)
    work.succeed(second)
    assert ids(watcher.look()) == [first, second]
    watcher.close()


def test_runs_that_bring_nothing_are_told_once_a_source(
    home: Path, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    watcher = Watcher(views.connect(home))
    for new in (0, 0, 5, 0):
        work.succeed(work.begin("notes"), new=new)
        watcher.look()
    said = capsys.readouterr().err.splitlines()
    assert [line.rpartition(": ")[2] for line in said] == ["nothing new", "5 new"]
    watcher.close()


@pytest.mark.parametrize("started_again", [False, True])
def test_of_a_run_that_goes_on_after_its_end_only_what_is_new_is_told(
    home: Path, work: Work, capsys: pytest.CaptureFixture[str], started_again: bool
) -> None:
    watcher = Watcher(views.connect(home))
    run_id = work.begin("notes", jobs=3)
    work.give_up(run_id)
    work.succeed(run_id, new=7)
    watcher.look()
    assert ": 7 new, 1 in quarantine" in capsys.readouterr().err
    if started_again:
        watcher.close()
        watcher = Watcher(views.connect(home), last=run_id)
    work.try_again(run_id)
    watcher.look()
    work.give_up(run_id)
    watcher.look()
    again = f"notes: run {run_id} partial after jobs of it were tried again: 1 in quarantine"
    assert capsys.readouterr().err.startswith(again)
    work.try_again(run_id)
    watcher.look()
    work.succeed(run_id, new=2)
    watcher.look()
    again = f"notes: run {run_id} succeeded after jobs of it were tried again: 2 new\n"
    assert capsys.readouterr().err == again
    watcher.close()


def test_only_the_runs_asked_for_are_followed(
    home: Path, work: Work, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, other = work.begin("notes"), work.begin("mail")
    watcher = Watcher(views.connect(home), only=[mine])
    work.succeed(other)
    assert watcher.look() == []
    work.succeed(mine)
    assert ids(watcher.look()) == [mine]
    assert "mail" not in capsys.readouterr().err
    watcher.close()


def test_a_run_whose_jobs_are_paused_is_known_to_be_held(home: Path, work: Work) -> None:
    run_id = work.begin("notes")
    watcher = Watcher(views.connect(home), only=[run_id])
    with work.ledger.transaction():
        work.ledger.jobs.move([1], Event.PAUSE, actor="ada")
    watcher.look()
    assert watcher.held() == [run_id]
    watcher.close()


def test_a_run_that_waits_for_its_source_says_why_and_until_when(
    home: Path, work: Work, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_S", 0.0)
    run_id = work.begin("mail")
    watcher = Watcher(views.connect(home), only=[run_id])
    watcher.look()
    assert capsys.readouterr().err == "mail: 0 of 1 jobs done, 0/s\n"
    work.fail(run_id, "nothing answers\nat localhost:1993", for_s=3599)
    watcher.look()
    said = capsys.readouterr().err
    assert said == "mail: 0 of 1 jobs done, waits: nothing answers at localhost:1993; next try in 60 min\n"
    watcher.look()
    assert capsys.readouterr().err == ""  # said once for each try
    work.fail(run_id, "the host is unknown", for_s=7200)
    with work.ledger.transaction():
        work.ledger.connection.execute(
            "INSERT INTO fuse (source, failures, opened, until, message) VALUES ('mail', 5, 1, ?, 'no route')",
            (time.time() + 10_800,),
        )
    watcher.look()
    assert "waits: no route; next try in 3 h\n" in capsys.readouterr().err
    watcher.close()
