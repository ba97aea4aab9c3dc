"""Changes while no farm runs: the ledger itself is opened, under the lock."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from farm import control
from farm import home as homes
from farm.ledger import views
from farm.settings import load
from tests.cli.world import Farm, Jobs, write_config


def state(farm: Farm, job_id: int) -> str:
    return str(views.job(views.connect(farm.home), job_id)["state"])


def test_jobs_are_cancelled_retried_paused_resumed(farm: Farm, jobs: Jobs) -> None:
    assert farm("jobs", "cancel", str(jobs.pending), "--format", "json").json == {"changed": 1, "skipped": []}
    assert state(farm, jobs.pending) == "cancelled"
    assert farm("jobs", "retry", str(jobs.retrying)).out == "1 job will be tried again\n"
    assert state(farm, jobs.retrying) == "pending"
    assert farm("jobs", "pause", str(jobs.retrying)).code == 0
    assert state(farm, jobs.retrying) == "paused"
    assert farm("jobs", "resume", "--all").out == "2 jobs resumed\n"
    assert state(farm, jobs.paused) == "pending"


def test_what_cannot_be_changed_is_said_and_nothing_happens(farm: Farm, jobs: Jobs) -> None:
    ran = farm("jobs", "resume", str(jobs.succeeded))
    assert ran.code == 1
    assert f"job {jobs.succeeded} is succeeded" in ran.err
    ran = farm("jobs", "retry", "99")
    assert ran.code == 1
    assert "there is no job 99" in ran.err


def test_jobs_must_be_named_or_all_be_meant(farm: Farm, jobs: Jobs) -> None:
    assert farm("jobs", "cancel").code == 2
    assert farm("jobs", "cancel", "1", "--all").code == 2
    assert farm("quarantine", "retry").code == 2


def test_quarantine_is_retried_and_discarded(farm: Farm, jobs: Jobs) -> None:
    assert farm("quarantine", "retry", "--source", "notes").out == "1 job will be tried again\n"
    assert state(farm, jobs.quarantined) == "pending"
    assert farm("quarantine", "retry", "--all").err == "the quarantine is empty\n"


def test_discarding_gives_a_job_up(farm: Farm, jobs: Jobs) -> None:
    assert "is not in quarantine, it is paused" in farm("quarantine", "discard", str(jobs.paused)).err
    assert farm("quarantine", "discard", str(jobs.quarantined)).code == 0
    assert state(farm, jobs.quarantined) == "cancelled"
    assert "it was discarded by" in farm("jobs", "explain", str(jobs.quarantined)).out


def test_a_run_asked_for_while_the_farm_is_down_is_written_down(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    ran = farm("run", "notes", "--full", "--format", "json")
    assert ran.code == 0
    assert ran.json["run_id"] == 1
    (row,) = farm("runs", "--format", "json").json
    assert (row["source"], row["type"], row["state"], row["trigger"]) == ("notes", "full", "queued", "manual")
    assert farm("run", "--format", "json").json[1]["source"] == "mail"
    assert farm("run", "nots").err.startswith("farm: there is no source 'nots'; did you mean notes?")


def test_run_wait_needs_a_running_farm(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    ran = farm("run", "notes", "--wait")
    assert ran.code == 1
    assert "no farm is running" in ran.err
    assert farm("runs", "--format", "json").json == []


def test_run_leaves_out_paused_sources(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    farm("sources", "pause", "mail")
    assert [row["source"] for row in farm("run", "--format", "json").json] == ["notes"]
    farm("sources", "pause", "notes")
    assert "every source is paused" in farm("run").err
    assert farm("sources", "list", "--format", "json").json[0]["state"] == "paused"
    farm("sources", "resume", "notes")
    assert farm("sources", "list", "--format", "json").json[0]["state"] == "active"


def test_init_writes_valid_commented_settings_once(farm: Farm) -> None:
    assert farm("init").code == 0
    config = farm.home / "farm.toml"
    assert load(config).sources == {}
    assert stat.S_IMODE(farm.home.stat().st_mode) == 0o700
    config.write_text("# mine\n")
    ran = farm("init")
    assert ran.code == 1
    assert "exists already" in ran.err
    assert config.read_text() == "# mine\n"


def test_what_init_shows_as_comments_is_valid_when_uncommented(farm: Farm, tmp_path: Path) -> None:
    from farm.cli.config_file import TEMPLATE

    lines = []
    for line in TEMPLATE.splitlines():
        bare = line.removeprefix("# ")
        lines.append(bare if line.startswith("# ") and ("=" in bare or bare.startswith("[")) else line)
    config = tmp_path / "farm.toml"
    config.write_text("\n".join(lines))
    assert set(load(config).sources) == {"notes", "script"}


def test_add_makes_home_and_source(farm: Farm, tmp_path: Path) -> None:
    folder = tmp_path / "My Notes"
    folder.mkdir()
    ran = farm("add", str(folder), "--format", "json")
    assert ran.json == [{"source": "my-notes", "path": str(folder), "added": True}]
    source = load(farm.home / "farm.toml").sources["my-notes"]
    assert (source.connector, source.every_s, source.watch) == ("local_files", 900.0, True)


def test_add_keeps_comments_and_what_stands_there(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    config = farm.home / "farm.toml"
    before = "# my farm\n" + config.read_text() + "\n# the end\n"
    config.write_text(before)
    config.chmod(0o640)
    (tmp_path / "notes" / "notes").mkdir()
    assert farm("add", str(tmp_path / "notes" / "notes"), "--include", "*.md", "--every", "1h").code == 0
    assert config.read_text().startswith(before)
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    source = load(config).sources["notes-2"]
    assert source.every_s == 3600.0
    assert '"*.md"' in source.options_json


def test_adding_twice_changes_nothing(farm: Farm, tmp_path: Path) -> None:
    farm("add", str(tmp_path))
    before = (farm.home / "farm.toml").read_text()
    ran = farm("add", str(tmp_path), "--format", "json")
    assert ran.json[0]["added"] is False
    assert (farm.home / "farm.toml").read_text() == before


def test_folders_that_overlap_are_told_in_one_note(farm: Farm, tmp_path: Path) -> None:
    outer, inner, beside = tmp_path / "all", tmp_path / "all" / "mine", tmp_path / "all-else"
    for folder in (outer / ".git", inner / ".obsidian", beside):
        folder.mkdir(parents=True)
    assert "note:" not in farm("add", str(inner), "--name", "mine").err
    (note,) = (line for line in farm("add", str(outer), "--name", "all").err.splitlines() if "note:" in line)
    assert note.startswith(f"note: all holds mine ({inner}): what both read is read and found twice")
    (inner / "deeper").mkdir()
    (tmp_path / "link").symlink_to(inner / "deeper")
    (note,) = (line for line in farm("add", str(tmp_path / "link")).err.splitlines() if "note:" in line)
    assert note.startswith(f"note: link lies in mine ({inner}) and in all ({outer}): ")
    assert "note:" not in farm("add", str(beside)).err
    assert "note:" not in farm("add", str(outer)).err, "it is there already"


def test_add_refuses_what_it_cannot_read(farm: Farm, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("x")
    assert "is a file, not a folder" in farm("add", str(file)).err
    assert "there is no folder" in farm("add", str(tmp_path / "missing")).err
    ran = farm("add", str(tmp_path), "--every", "often")
    assert ran.code == 1
    assert ".every:" in ran.err
    assert not (farm.home / "farm.toml").exists()


def test_add_names_a_taken_name(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    other = tmp_path / "other"
    other.mkdir()
    assert "there is a source 'mail' already" in farm("add", str(other), "--name", "mail").err


def test_add_tells_a_running_farm(farm: Farm, tmp_path: Path) -> None:
    homes.prepare(farm.home)
    heard: list[str] = []
    server = control.Server(farm.home, lambda op, args, actor: heard.append(op))
    with homes.Lock(farm.home):
        server.start()
        try:
            ran = farm("add", str(tmp_path))
        finally:
            server.close()
    assert heard == ["reload"]
    assert "next:" not in ran.err


def test_remove_takes_a_source_out_and_cancels_its_work(farm: Farm, jobs: Jobs) -> None:
    config = farm.home / "farm.toml"
    config.write_text(config.read_text() + "# the end\n")
    assert farm("sources", "remove", "notes").code == 0
    assert set(load(config).sources) == {"mail"}
    assert "# the end" in config.read_text()
    assert state(farm, jobs.pending) == "cancelled"
    assert state(farm, jobs.quarantined) == "cancelled"


def test_errors_of_settings_are_said_all_at_once_and_nothing_is_changed(farm: Farm, tmp_path: Path) -> None:
    write_config(farm.home, tmp_path / "notes")
    config = farm.home / "farm.toml"
    config.write_text(config.read_text().replace('every = "15m"', 'every = "often"\nweight = -1'))
    before = config.read_text()
    for args in (["start"], ["run", "notes"], ["add", str(tmp_path)], ["profile", "show"]):
        ran = farm(*args)
        assert ran.code == 1, args
        assert "sources.notes.every:" in ran.err
        assert "sources.notes.weight:" in ran.err
    assert config.read_text() == before


def test_start_without_settings_says_how_to_make_some(farm: Farm) -> None:
    ran = farm("start")
    assert ran.code == 1
    assert "add FOLDER" in ran.err
    assert not farm.home.exists()


def test_stop_without_a_farm_is_fine(farm: Farm, jobs: Jobs) -> None:
    ran = farm("stop")
    assert ran.code == 0
    assert "no farm is running" in ran.err


def test_a_change_waits_for_a_farm_that_is_just_starting(farm: Farm, jobs: Jobs) -> None:
    lock = homes.Lock(farm.home)
    lock.acquire()
    server = control.Server(farm.home, lambda op, args, actor: {"changed": 7, "skipped": []})
    late = threading.Timer(0.5, server.start)
    late.start()
    try:
        assert farm("jobs", "retry", "--all").out == "7 jobs will be tried again\n"
    finally:
        late.join()
        server.close()
        lock.release()


def test_a_read_only_state_folder_is_one_clear_sentence(
    farm: Farm, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **settings: object) -> int:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("farm.home.os.open", refuse)
    ran = farm("jobs", "retry", "--all")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "Read-only file system" in ran.err
