from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import home as homes
from farm.core.job import RunType, Stage
from farm.errors import LedgerDamaged, NotFound
from farm.ledger import views
from farm.ledger.jobs import NewJob
from farm.ledger.ledger import Ledger
from tests.cli.world import NOW, Jobs


@pytest.fixture
def db(home: Path, jobs: Jobs) -> Iterator[sqlite3.Connection]:
    connection = views.connect(home)
    yield connection
    connection.close()


def test_counts_name_every_state_and_agree_with_the_jobs(db: sqlite3.Connection) -> None:
    assert views.job_counts(db) == {
        "pending": 1,
        "running": 1,
        "retrying": 1,
        "quarantined": 1,
        "paused": 1,
        "succeeded": 3,
        "cancelled": 1,
    }
    rows = db.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall()
    assert dict(tuple(row) for row in rows) == {s: n for s, n in views.job_counts(db).items() if n}


def test_totals_follow_every_tally(db: sqlite3.Connection) -> None:
    summed = db.execute(
        "SELECT source, tally.state, sum(n) FROM tally JOIN run ON run.id = run_id GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    total = db.execute("SELECT source, state, n FROM total ORDER BY 1, 2").fetchall()
    assert [tuple(row) for row in total] == [tuple(row) for row in summed]


def test_counts_of_a_source_are_its_own(db: sqlite3.Connection) -> None:
    counts = views.source_counts(db)
    assert counts["mail"]["succeeded"] == 1
    assert counts["notes"]["quarantined"] == 1
    assert sum(counts["notes"].values()) == 8


def test_jobs_come_newest_first_and_filtered(db: sqlite3.Connection, jobs: Jobs) -> None:
    assert [row["id"] for row in views.jobs(db, limit=3)] == [9, 8, 7]
    assert [row["id"] for row in views.jobs(db, source="notes", state="retrying")] == [jobs.retrying]
    assert [row["id"] for row in views.jobs(db, stage="discover")] == [9, 1]
    assert [row["id"] for row in views.jobs(db, run_id=2)] == [9]


def test_a_list_longer_than_a_page_is_complete(home: Path) -> None:
    homes.prepare(home)
    ledger = Ledger.open(home / homes.LEDGER)
    many = views.PAGE * 2 + 1
    with ledger.transaction():
        run_id = ledger.runs.create("notes", RunType.FULL, "manual")
        assert run_id is not None
        ledger.jobs.submit(run_id, "notes", [NewJob(Stage.EXTRACT, str(n), "1") for n in range(many)], 1)
    ledger.close()
    db = views.connect(home)
    ids = [row["id"] for row in views.jobs(db)]
    assert ids == list(range(many, 0, -1))
    assert len(list(views.jobs(db, limit=views.PAGE + 1))) == views.PAGE + 1
    assert views.ahead(db, many) == 1000
    assert views.ahead(db, 3) == 2


def test_a_job_shows_attempts_with_evidence_and_its_moves(db: sqlite3.Connection, jobs: Jobs) -> None:
    found = views.job(db, jobs.quarantined)
    (attempt,) = found["attempts"]
    assert attempt["outcome"] == "timed_out"
    assert attempt["signal"] == 9
    assert attempt["wall_s"] == 2.0
    assert attempt["memory_peak_bytes"] == 120_000_000
    assert attempt["evidence"]["traceback"] == "Traceback: line 1"
    states = [move["to_state"] for move in found["transitions"]]
    assert states == ["pending", "running", "failed", "quarantined"]


def test_an_unknown_job_or_run_is_not_found(db: sqlite3.Connection) -> None:
    with pytest.raises(NotFound, match="no job 99"):
        views.job(db, 99)
    with pytest.raises(NotFound, match="no run 99"):
        views.run(db, 99)


def test_the_quarantine_lists_since_when_and_why(db: sqlite3.Connection, jobs: Jobs) -> None:
    (row,) = views.quarantine(db)
    assert row["job_id"] == jobs.quarantined
    assert (row["reason"], row["attempts"], row["key"]) == ("timeout", 1, "d.md")
    assert row["quarantined_at"] == NOW + 8
    assert list(views.quarantine(db, source="mail")) == []
    assert list(views.quarantine(db, reason="parse_error")) == []


def test_runs_show_jobs_and_documents(db: sqlite3.Connection) -> None:
    mail, notes = views.runs(db)
    assert (mail["source"], mail["state"]) == ("mail", "succeeded")
    assert notes["documents"] == {"new": 1, "changed": 0, "deleted": 0, "unchanged": 0, "rejected": 0}
    assert notes["jobs"]["paused"] == 1
    assert [row["id"] for row in views.open_runs(db)] == [notes["id"]]
    assert views.open_runs(db)[0]["jobs"] == notes["jobs"]


def test_sources_have_their_last_run_also_when_never_met(db: sqlite3.Connection) -> None:
    known = views.sources(db, ["notes", "mail", "new"])
    assert known["mail"]["last_run"]["state"] == "succeeded"
    assert known["new"]["last_run"] is None
    assert known["new"]["paused_at"] is None


def test_a_folder_without_a_ledger_reads_as_empty(home: Path) -> None:
    home.mkdir()
    db = views.connect(home)
    assert sum(views.job_counts(db).values()) == 0
    assert list(views.runs(db)) == []
    assert not (home / homes.LEDGER).exists()


def test_a_reader_cannot_write(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        db.execute("DELETE FROM job")


def test_a_damaged_ledger_is_named_so(home: Path) -> None:
    home.mkdir()
    (home / homes.LEDGER).write_bytes(b"not a database at all" * 1000)
    with pytest.raises(LedgerDamaged, match=r"ledger\.db is damaged"):
        views.connect(home)


def test_a_reader_sees_what_a_living_writer_committed(home: Path, jobs: Jobs) -> None:
    ledger = Ledger.open(home / homes.LEDGER)
    db = views.connect(home)
    with ledger.transaction():
        ledger.runs.create("later", RunType.FULL, "manual")
        assert [row["source"] for row in views.runs(db, source="later")] == []
    assert [row["source"] for row in views.runs(db, source="later")] == ["later"]
    ledger.close()
