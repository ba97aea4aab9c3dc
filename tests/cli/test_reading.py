from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from farm import control
from farm import home as homes
from farm.connector import Document
from farm.core.job import Ending, Event, Outcome, Stage
from farm.ledger.ledger import Ledger
from farm.store.landing import Landing
from farm.store.ranking import BOUNDS
from farm.store.store import Store
from tests.cli.world import Farm, Jobs, write_config

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_status_has_the_keys_that_others_rely_on(farm: Farm, jobs: Jobs) -> None:
    found = farm("status", "--format", "json").json
    assert found["farm"]["state"] == "stopped"
    assert found["jobs"]["quarantined"] == 1
    assert found["jobs"]["succeeded"] == 3
    assert found["cells"] == []
    assert [source["name"] for source in found["sources"]] == ["notes", "mail"]
    assert found["sources"][0]["last_run"]["state"] == "running"


def test_status_is_readable(farm: Farm, jobs: Jobs) -> None:
    ran = farm("status")
    assert ran.code == 0
    assert "1 quarantined" in ran.out
    assert "every 15m" in ran.out


def test_status_of_a_folder_without_a_farm_says_how_to_begin(farm: Farm) -> None:
    ran = farm("status")
    assert ran.code == 0
    assert "farm.cli" in ran.out or "farm " in ran.out
    assert "add FOLDER" in ran.out
    assert not farm.home.exists()


def test_status_of_a_running_farm_shows_cells_budget_and_holds(farm: Farm, jobs: Jobs) -> None:
    live: dict[str, Any] = {
        "stopping": False,
        "started_at": 1_800_000_000.0,
        "cells": [
            {
                "number": 1,
                "state": "busy",
                "source": "notes",
                "job_id": 3,
                "memory_bytes": 120_000_000,
                "done": 3,
                "total": 10,
                "message": "pages",
                "job_started": time.monotonic() - 5,
            }
        ],
        "budget": {"cpu": 2.0, "memory_bytes": 4_000_000_000, "cells": 4, "cpu_held": 1.0, "cells_held": 1},
        "holds": [
            {
                "source": "notes",
                "job_id": 8,
                "reason": "memory",
                "sentence": "it needs more memory than is free",
            }
        ],
    }
    server = control.Server(farm.home, lambda op, args, actor: live)
    with homes.Lock(farm.home):
        server.start()
        try:
            found = farm("status", "--format", "json").json
            ran = farm("status")
        finally:
            server.close()
    assert found["farm"]["state"] == "running"
    assert found["farm"]["pid"] == os.getpid()
    assert ISO.fullmatch(found["farm"]["started_at"])
    (cell,) = found["cells"]
    assert (cell["number"], cell["job_id"], cell["done"]) == (1, 3, 3)
    assert 5 <= cell["job_held_s"] < 60
    assert "job_started" not in cell
    assert "1.0 of 2.0 cores" in ran.out
    assert "it needs more memory than is free" in ran.out
    assert "3 of 10 pages" in ran.out


def test_status_of_a_farm_about_to_open_its_socket_is_starting(farm: Farm, jobs: Jobs) -> None:
    with homes.Lock(farm.home):
        assert farm("status", "--format", "json").json["farm"]["state"] == "starting"


def test_jobs_list_has_the_keys_that_others_rely_on(farm: Farm, jobs: Jobs) -> None:
    rows = farm("jobs", "list", "--format", "json").json
    assert len(rows) == 9
    keys = {
        "id",
        "run_id",
        "source",
        "stage",
        "key",
        "state",
        "attempts",
        "outcome",
        "reason",
        "message",
        "due_at",
    }
    assert keys <= rows[0].keys()
    by_id = {row["id"]: row for row in rows}
    assert ISO.fullmatch(by_id[jobs.retrying]["due_at"])
    assert by_id[jobs.pending]["due_at"] is None
    assert by_id[jobs.quarantined]["reason"] == "timeout"
    assert by_id[jobs.retrying]["message"] == "the mail server was busy"


def test_jobs_list_chooses(farm: Farm, jobs: Jobs) -> None:
    def ids(*args: str) -> list[int]:
        return [row["id"] for row in farm("jobs", "list", "--format", "json", *args).json]

    assert ids("--state", "paused") == [jobs.paused]
    assert ids("--source", "mail") == [9]
    assert ids("--run", "1", "--stage", "discover") == [1]
    assert ids("--limit", "2") == [9, 8]
    assert (
        farm("jobs", "list", "--source", "note").err
        == "farm: there is no source 'note'; did you mean notes?\n"
    )
    assert farm("jobs", "list", "--run", "77").code == 1


def test_format_may_stand_before_the_command(farm: Farm, jobs: Jobs) -> None:
    assert len(farm("--format", "json", "jobs", "list").json) == 9
    assert farm("--format", "json", "jobs", "list", "--format", "table").out.startswith("JOB")


def test_tables_are_whole_where_there_is_no_terminal(farm: Farm, jobs: Jobs) -> None:
    lines = farm("jobs", "list").out.splitlines()
    assert len(lines) == 10
    assert "the mail server was busy" in lines[9 - jobs.retrying + 1]


def test_jobs_show_has_the_keys_that_others_rely_on(farm: Farm, jobs: Jobs) -> None:
    found = farm("jobs", "show", str(jobs.quarantined), "--format", "json").json
    (attempt,) = found["attempts"]
    keys = {
        "number",
        "outcome",
        "started_at",
        "ended_at",
        "wall_s",
        "cpu_s",
        "memory_peak_bytes",
        "exit",
        "signal",
        "message",
    }
    assert keys <= attempt.keys()
    assert ISO.fullmatch(attempt["started_at"])
    assert [move["to_state"] for move in found["transitions"]] == [
        "pending",
        "running",
        "failed",
        "quarantined",
    ]
    assert ISO.fullmatch(found["transitions"][0]["at"])
    people = farm("jobs", "show", str(jobs.quarantined)).out
    assert "signal 9" in people
    assert "120 MB of 256 MB" in people


def test_attempts_that_cost_nothing_are_counted_everywhere_alike(farm: Farm, jobs: Jobs) -> None:
    ledger = Ledger.open(farm.home / homes.LEDGER)
    with ledger.transaction():
        ledger.attempts.lease([jobs.pending], cpu=1.0, memory_bytes=1)
        ledger.attempts.close([Ending(jobs.pending, ledger.attempts.newest(), Outcome.INTERRUPTED)])
        ledger.jobs.move([jobs.pending], Event.INTERRUPT)
        ledger.attempts.lease([jobs.pending], cpu=1.0, memory_bytes=1)
        ledger.attempts.close([Ending(jobs.pending, ledger.attempts.newest(), Outcome.PERMANENT)])
        ledger.jobs.move([jobs.pending], Event.FAIL, attempts="attempts + 1")
        ledger.jobs.move([jobs.pending], Event.QUARANTINE, reason="parse_error")
    ledger.close()
    for command in (("jobs", "list"), ("quarantine", "list")):
        heads, *rows = farm(*command).out.splitlines()
        (line,) = (line for line in rows if line.split()[0] == str(jobs.pending))
        end = heads.index("TRIED") + len("TRIED")
        assert line[end - len("TRIED") : end].split() == ["2"]
        (found,) = (
            row
            for row in farm(*command, "--format", "json").json
            if row.get("id", row.get("job_id")) == jobs.pending
        )
        assert (found["attempts"], found["attempts_made"]) == (1, 2)
    assert "after 2 attempts" in farm("jobs", "explain", str(jobs.pending)).out
    assert len(farm("jobs", "show", str(jobs.pending), "--format", "json").json["attempts"]) == 2


def test_an_unknown_job_is_one_clear_sentence(farm: Farm, jobs: Jobs) -> None:
    for args in (["jobs", "show", "99"], ["jobs", "explain", "99"], ["quarantine", "show", "99"]):
        ran = farm(*args)
        assert ran.code == 1
        assert ran.err == "farm: there is no job 99: `farm jobs list` shows them\n"


def test_quarantine_list_has_the_keys_that_others_rely_on(farm: Farm, jobs: Jobs) -> None:
    (row,) = farm("quarantine", "list", "--format", "json").json
    assert {"job_id", "source", "key", "reason", "message", "attempts", "quarantined_at"} <= row.keys()
    assert row["job_id"] == jobs.quarantined
    assert ISO.fullmatch(row["quarantined_at"])


def test_quarantine_show_brings_the_evidence(farm: Farm, jobs: Jobs) -> None:
    ran = farm("quarantine", "show", str(jobs.quarantined))
    assert "Traceback: line 1" in ran.out
    assert "last words" in ran.out
    assert "is not in quarantine, it is paused" in farm("quarantine", "show", str(jobs.paused)).err


def test_runs_have_the_keys_that_others_rely_on(farm: Farm, jobs: Jobs) -> None:
    mail, notes = farm("runs", "--format", "json").json
    assert {"id", "source", "type", "state", "trigger", "jobs", "documents"} <= mail.keys()
    assert set(notes["documents"]) == {"new", "changed", "deleted", "unchanged", "rejected"}
    assert notes["jobs"]["running"] == 1
    assert [row["id"] for row in farm("runs", "--state", "succeeded", "--format", "json").json] == [2]
    assert farm("runs", "--id", "5").code == 1
    assert "1 new" in farm("runs").out


def test_sources_list_joins_settings_and_ledger(farm: Farm, jobs: Jobs) -> None:
    notes, mail = farm("sources", "list", "--format", "json").json
    assert (notes["name"], notes["connector"], notes["every"], notes["state"]) == (
        "notes",
        "local_files",
        "15m",
        "active",
    )
    assert mail["jobs"]["succeeded"] == 1


def test_a_source_taken_out_of_the_settings_shows_while_it_has_work(farm: Farm, jobs: Jobs) -> None:
    (farm.home / "farm.toml").write_text("")
    (row,) = farm("sources", "list", "--format", "json").json
    assert (row["name"], row["state"]) == ("notes", "removed")


def test_empty_lists_are_empty_arrays_and_a_word_to_people(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    for noun in (
        ["jobs", "list"],
        ["runs"],
        ["quarantine", "list"],
        ["documents", "list"],
        ["search", "word"],
    ):
        assert farm(*noun, "--format", "json").json == []
        ran = farm(*noun)
        assert (ran.code, ran.out) == (0, "")
        assert ran.err


def test_a_search_says_when_it_ranked_only_the_newest_matches_or_none(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    with Store.open(farm.home / homes.STORE) as store:
        landings = [
            Landing("notes", n, n, Stage.EXTRACT, [Document(f"{n}", "the same", title=f"{n}")], f"{n}", "1")
            for n in range(1, BOUNDS.small + 2)
        ]
        store.land(landings[: BOUNDS.ranked])
        assert {hit["ranked_among"] for hit in farm("search", "same", "--format", "json").json} == {None}
        assert "documents match" not in farm("search", "same").err
        store.land(landings[BOUNDS.ranked : BOUNDS.ranked + 1])
        assert {hit["ranked_among"] for hit in farm("search", "same", "--format", "json").json} == {5_000}
        ran = farm("search", "same", "--limit", "1")
        assert ran.out.startswith(f"{BOUNDS.ranked + 1}  [notes]")
        assert "more than 5,000 documents match: the best of the 5,000 that came in last" in ran.err
        store.land(landings[BOUNDS.ranked + 1 :])
    for words, among, said in (
        ("same", 500, "more than 500 documents match: the best of the 500 that came in last"),
        ("sam*", 0, "too many documents match to rank them: the newest first"),
    ):
        assert {hit["ranked_among"] for hit in farm("search", words, "--format", "json").json} == {among}
        ran = farm("search", words, "--limit", "1")
        assert ran.out.startswith(f"{BOUNDS.small + 1}  [notes]")
        assert said in ran.err
    assert [hit["ranked_among"] for hit in farm("search", "--format", "json", "same", "7").json] == [None]


def test_reading_needs_a_farm_and_makes_none(farm: Farm) -> None:
    for noun in (
        ["jobs", "list"],
        ["runs"],
        ["search", "word"],
        ["documents", "list"],
        ["jobs", "retry", "1"],
    ):
        ran = farm(*noun)
        assert ran.code == 1
        assert f"there is no farm in {farm.home}" in ran.err
    assert not farm.home.exists()


def test_a_damaged_ledger_is_one_clear_sentence(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    (farm.home / homes.LEDGER).write_bytes(b"garbage" * 1000)
    for args in (["status"], ["jobs", "list"], ["runs", "--format", "json"]):
        ran = farm(*args)
        assert ran.code == 1
        assert ran.err.count("\n") == 1
        assert "ledger.db is damaged" in ran.err


def test_an_unexpected_error_is_a_sentence_and_a_log_entry(
    farm: Farm, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("farm.ledger.views.job_counts", broken)
    ran = farm("status")
    assert ran.code == 1
    assert "Traceback" not in ran.err
    assert ran.err.count("\n") == 1
    log = farm.home / "logs" / "farm.log"
    assert str(log) in ran.err
    assert "ZeroDivisionError: by zero" in log.read_text()
    monkeypatch.setenv("FARM_DEBUG", "1")
    assert "Traceback" in farm("status").err


def test_a_reader_that_stops_early_is_left_in_quiet(home: Path, jobs: Jobs) -> None:
    command = f"{sys.executable} -m farm.cli --home {home} jobs list --format json | head -n 1"
    ran = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert ran.stdout == "[\n"
    assert ran.stderr == ""
    with subprocess.Popen(
        [sys.executable, "-m", "farm.cli", "--home", str(home), "jobs", "list"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
    ) as process:  # fmt: skip
        assert process.stdout and process.stderr
        process.stdout.close()
        assert process.stderr.read() == b""
        process.wait(30)


def test_names_that_would_steer_a_terminal_are_shown_harmless(farm: Farm, jobs: Jobs) -> None:
    import sqlite3

    with sqlite3.connect(farm.home / homes.LEDGER) as db:
        db.execute("UPDATE job SET key = 'a' || char(27) || '[31m' || char(10) || '[b]x[/b]' WHERE id = 8")
    db.close()
    assert "a\ufffd[31m [b]x[/b]" in farm("jobs", "list").out
    assert json.loads(farm("jobs", "list", "--format", "json").out)[1]["key"] == "a\x1b[31m\n[b]x[/b]"


@pytest.mark.parametrize("text", ["[sources.notes\n", "sources = 3\n"])
def test_settings_that_cannot_be_used_are_named_by_status(farm: Farm, jobs: Jobs, text: str) -> None:
    (farm.home / "farm.toml").write_text(text)
    ran = farm("status")
    assert ran.code == 0
    assert "farm.toml is broken" in ran.out
    assert [row["name"] for row in farm("status", "--format", "json").json["sources"]] == ["notes", "mail"]
    assert farm("status", "--format", "json").json["farm"]["config_error"].startswith("farm.toml is broken: ")
