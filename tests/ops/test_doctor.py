"""The doctor finds every planted fault, and calls nothing broken that is not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from farm.doctor import Finding, examine
from farm.home import LEDGER, STORE
from farm.workers import reaper
from tests.support.farms import Farm, local_files, misbehaving

pytestmark = pytest.mark.usefixtures("impatient")


def broken(home: Path) -> dict[str, str]:
    """What the doctor calls broken: detail by check."""
    return {found.check: found.detail for found in examine(home, home / "farm.toml") if not found.ok}


def said(home: Path) -> dict[str, Finding]:
    return {found.check: found for found in examine(home, home / "farm.toml")}


def plant(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


def job_in(home: Path, state: str) -> int:
    with closing(sqlite3.connect(home / LEDGER)) as db:
        return int(db.execute("SELECT min(id) FROM job WHERE state = ?", (state,)).fetchone()[0])


def test_nothing_is_broken_where_nothing_was_planted(home: Path) -> None:
    assert broken(home) == {}


def test_a_folder_where_no_farm_has_worked_is_fine(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    assert not [found for found in examine(tmp_path, None) if not found.ok]


ATTEMPT = (
    "INSERT INTO attempt (job_id, number, launch_id, cpu, memory_bytes, started_at) SELECT id, 1, 1, 1, 1, 1"
)

PLANTED = {
    "a job without transitions": (
        "DELETE FROM transition WHERE job_id = {succeeded}",
        "every job has transitions",
        "job {succeeded}",
    ),
    "two running attempts": (
        f"DROP INDEX attempt_running; {ATTEMPT} FROM job WHERE id = {{pending}};"
        f" {ATTEMPT} FROM job WHERE id = {{pending}}",
        "no job has two running attempts",
        "job {pending}",
    ),
    "a missing index": (
        "DROP INDEX attempt_running",
        "the ledger has its tables, indexes and triggers",
        "attempt_running is missing",
    ),
    "a ticket without a job": (
        "INSERT INTO task (id, queue, data) VALUES (4711, 'notes', x'7b7d')",
        "every ticket is of a job",
        "ticket 4711",
    ),
    "a job without a ticket": (
        "DELETE FROM task WHERE id = {retrying}",
        "every job that may run has a ticket",
        "job {retrying} (retrying)",
    ),
    "a ticket too many": (
        "INSERT INTO task (id, queue, data) SELECT id, source, x'7b7d' FROM job WHERE id = {quarantined}",
        "no other job has a ticket",
        "job {quarantined} (quarantined)",
    ),
    "a ticket in another lane": (
        "UPDATE task SET queue = 'notes' WHERE id = {pending}",
        "every ticket is in its source's lane",
        "of waiting in notes",
    ),
    "an illegal transition": (
        "UPDATE transition SET event = 'discard' WHERE job_id = {succeeded} AND event = 'succeed'",
        "every transition is legal",
        "running -discard-> succeeded",
    ),
    "a broken chain": (
        "DELETE FROM transition WHERE job_id = {succeeded} AND event = 'lease'",
        "every transition begins where the one before it ended",
        "job {succeeded}: pending, then running -succeed->",
    ),
    "a chain without its beginning": (
        "DELETE FROM transition WHERE job_id = {quarantined} AND event = 'submit'",
        "every transition begins where the one before it ended",
        "job {quarantined}: new, then pending -lease->",
    ),
    "a state that no transition led to": (
        "UPDATE job SET state = 'paused' WHERE id = {quarantined}",
        "every job is where its last transition led",
        "job {quarantined} is paused, not quarantined",
    ),
    "a transition of no job": (
        "INSERT INTO transition (job_id, to_state, event, actor, at) VALUES (4711, 'pending', 'submit', '', 0)",
        "every transition is of a job",
        "job 4711",
    ),
    "a tally that miscounts": (
        "UPDATE tally SET n = n + 1 WHERE state = 'succeeded' AND run_id = 1",
        "the tallies count the jobs",
        "run 1: succeeded",
    ),
    "a total that does not add up": (
        "UPDATE total SET n = 99 WHERE source = 'notes' AND state = 'succeeded'",
        "the totals are the sums of the tallies",
        "notes: succeeded 99, not 4",
    ),
    "a lease without an attempt": (
        "UPDATE task SET lease = 4711 WHERE id = {pending}",
        "every lease is of its job's running attempt",
        "job {pending} (attempt 4711)",
    ),
    "a leased ticket of a job that does not run": (
        "UPDATE task SET lease = 4711 WHERE id = {pending}",
        "every running job's ticket is leased, and no other",
        "job {pending} (pending)",
    ),
    "an open attempt of a job that does not run": (
        "UPDATE attempt SET outcome = NULL WHERE job_id = {quarantined}",
        "every running attempt is of a running job",
        "of job {quarantined} (quarantined)",
    ),
    "a running job without an attempt": (
        "UPDATE job SET state = 'running' WHERE id = {pending}",
        "every running job has a running attempt",
        "job {pending}",
    ),
    "a success without an attempt": (
        "UPDATE attempt SET outcome = 'crashed' WHERE job_id = {succeeded}",
        "every job that succeeded has an attempt that did",
        "job {succeeded}",
    ),
    "a retrying job without a due time": (
        "UPDATE job SET due_at = NULL WHERE id = {retrying}",
        "every retrying job has a due time, and no other waits for one",
        "job {retrying}",
    ),
    "a pending job that waits for a time": (
        "UPDATE task SET due_at = 9e9 WHERE id = {pending}",
        "every retrying job has a due time, and no other waits for one",
        "job {pending} (pending)",
    ),
    "a quarantine without a reason": (
        "UPDATE job SET reason = '' WHERE id = {quarantined}",
        "every quarantined job has a reason",
        "job {quarantined}",
    ),
    "a job that is over too soon": (
        "UPDATE job SET finished_at = 1 WHERE id = {pending}",
        "every job that is over says since when, and no other",
        "job {pending} (pending)",
    ),
    "a job that is over and does not say since when": (
        "UPDATE job SET finished_at = NULL WHERE id = {succeeded}",
        "every job that is over says since when, and no other",
        "job {succeeded} (succeeded)",
    ),
    "a run that is over too soon": (
        "UPDATE run SET finished_at = 1 WHERE id = (SELECT run_id FROM job WHERE id = {retrying})",
        "every run is over when its jobs are",
        "run",
    ),
    "a job of no run": (
        "PRAGMA foreign_keys = OFF; UPDATE job SET run_id = 4711 WHERE id = {pending}",
        "the ledger's file is whole",
        "names a run that is not there",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_fault_planted_in_the_ledger_is_found(name: str, home: Path) -> None:
    script, check, detail = PLANTED[name]
    ids = {state: job_in(home, state) for state in ("succeeded", "pending", "retrying", "quarantined")}
    plant(home / LEDGER, script.format(**ids))
    found = broken(home)
    assert detail.format(**ids) in found.get(check, ""), found


def test_a_document_whose_job_never_succeeded_is_found(home: Path) -> None:
    for state in ("quarantined", "pending"):
        plant(home / STORE, f"UPDATE document SET job_id = {job_in(home, state)} WHERE key = 'alder.md'")
        found = broken(home)["every document and record is of a job that succeeded"]
        assert found.startswith("1: document ")
        assert f"({state})" in found
    plant(home / STORE, "UPDATE document SET job_id = 4711, fence = 4711 WHERE key = 'alder.md'")
    assert "(no such job)" in broken(home)["every document and record is of a job that succeeded"]


def test_a_success_that_never_landed_is_found(home: Path) -> None:
    plant(home / STORE, "DELETE FROM landing WHERE key = 'birch.md'")
    assert "(notes birch.md)" in broken(home)["whatever succeeded has landed"]


def test_a_fault_of_the_store_is_found(home: Path) -> None:
    plant(home / STORE, "UPDATE document SET bytes = 1 WHERE key = 'cedar.md'")
    assert "not as long as it says" in broken(home)["the store keeps its own rules"]


@pytest.mark.parametrize("name", ["999999.jsonl", "notes.txt"])
def test_a_spool_of_no_attempt_is_found(name: str, home: Path) -> None:
    (home / "spool" / name).write_text("{}\n")
    assert broken(home) == {"every spool is of an attempt": f"1: spool/{name}"}


@pytest.mark.parametrize(("where", "mode"), [(".", 0o755), (LEDGER, 0o644), (STORE, 0o660)])
def test_a_state_folder_that_others_can_read_is_found(where: str, mode: int, home: Path) -> None:
    (home / where).chmod(mode)
    assert f"has mode {mode:04o}" in broken(home)["the state folder is private"]


def test_settings_with_errors_are_found(home: Path) -> None:
    with (home / "farm.toml").open("a") as file:
        file.write('[sources.odd]\nconnector = "no_such"\n')
    assert "no_such" in broken(home)["settings"]


@pytest.mark.parametrize("database", [LEDGER, STORE])
def test_a_damaged_database_is_found_and_the_rest_still_examined(database: str, home: Path) -> None:
    with (home / database).open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(os.path.getsize(home / database) - 4096))
    found = broken(home)
    assert found
    assert all("this should not" not in detail for detail in found.values())
    assert "there is room on the disk" in said(home)


def test_a_file_that_is_no_database_is_found(home: Path) -> None:
    (home / LEDGER).write_bytes(b"this is not a database, it is a sentence" * 100)
    assert "ledger.db is damaged" in broken(home)["ledger"]


def test_a_ledger_of_a_newer_farm_is_refused_in_one_sentence(home: Path) -> None:
    plant(home / LEDGER, "PRAGMA user_version = 4711")
    assert "install the newer farm" in broken(home)["ledger"]


# -- processes


@pytest.fixture
def stray(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that bears the mark of an earlier farm on this folder."""
    environment = {reaper.MARKER: f"{reaper.mark_of(str(home))}.earlier:1"}
    with subprocess.Popen(
        [sys.executable, "-S", "-c", "import time; time.sleep(300)"], env=environment
    ) as process:
        yield process
        process.kill()


def test_a_stray_process_is_found_while_no_farm_runs(home: Path, stray: subprocess.Popen[bytes]) -> None:
    assert f"process {stray.pid}" in broken(home)["no stray process is left"]


def test_a_stray_of_an_earlier_farm_is_found_while_another_one_runs(home: Path) -> None:
    with Farm(home, {"waiting": misbehaving("Noop")}) as farm:
        farm.start()
        assert broken(home) == {}
        mark = {reaper.MARKER: f"{reaper.mark_of(str(home))}.earlier:1"}
        with subprocess.Popen(
            [sys.executable, "-S", "-c", "import time; time.sleep(300)"], env=mark
        ) as stray:
            try:
                assert broken(home) == {
                    "no stray process is left": f"1: process {stray.pid} ({_name(stray.pid)})"
                }
            finally:
                stray.kill()


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


# -- a farm at work, and one that died


@pytest.mark.usefixtures("patient")
def test_a_busy_farm_is_never_called_broken_nor_is_one_that_was_killed(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for n in range(400):
        (notes / f"{n}.md").write_text(f"# note {n}\n\n" + "a line of words\n" * 30)
    units = [f"bad{n}" if n % 7 == 0 else f"unit{n}" for n in range(300)]
    sources = {
        "notes": local_files(notes),
        "flaky": misbehaving("Raises", *units, retry={"base": "50ms", "max_attempts": 2}),
        "quick": misbehaving("Noop", *(f"u{n}" for n in range(3000)), profile={"batch": 64}),
        "dies": misbehaving("Crash", "bad1", "bad2", "good", retry={"base": "10ms"}),
    }
    with Farm(tmp_path / "home", sources) as farm:
        farm.start()
        for name in sources:
            farm.call("run", source=name)
        looks, deadline = 0, time.monotonic() + 3
        while time.monotonic() < deadline:
            assert broken(farm.home) == {}
            looks += 1
            if looks % 3 == 0:
                farm.call("run", source="notes", type="replay")
                farm.call("run", source="flaky", type="replay")
        assert looks > 2
        farm.kill()
        assert broken(farm.home) == {}
        assert farm.drain() == 3
        assert broken(farm.home) == {}


def test_what_a_killed_farm_left_under_way_is_named_for_the_next_start(tmp_path: Path) -> None:
    with Farm(tmp_path / "home", {"slow": misbehaving("Sleeps", "a", "b", options={"sleep_s": 60})}) as farm:
        farm.start()
        farm.call("run", source="slow")
        farm.until_jobs(running=2)
        farm.kill()
        found = said(farm.home)
        assert all(each.ok for each in found.values())
        assert found["recovery"].detail == "2 attempts to be recovered at the next start"


def test_the_command_exits_1_and_names_what_is_broken(home: Path) -> None:
    farm = Farm(home)
    assert farm.cli("doctor").returncode == 0
    home.chmod(0o755)
    done = farm.cli("doctor")
    assert done.returncode == 1
    assert "has mode 0755, not 0700" in done.stdout
    assert "1 check failed" in done.stderr
