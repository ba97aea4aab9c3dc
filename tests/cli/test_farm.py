"""The command line and the real farm together, each in processes of their own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from farm import home as homes
from tests.support.wait import until

PROJECT = Path(__file__).parents[2]


def farm(home: Path, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(
        [sys.executable, "-m", "farm.cli", "--home", str(home), *args],
        capture_output=True, text=True, cwd=PROJECT, timeout=90,
    )  # fmt: skip
    assert not check or ran.returncode == 0, ran
    return ran


def ask(home: Path, *args: str) -> Any:
    return json.loads(farm(home, "--format", "json", *args).stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\nAn apple a day, number {number}.\n")
    return folder


@pytest.fixture
def started(home: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    farm(home, "add", str(folder))
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.cli", "--home", str(home), "start"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_a_folder_goes_in_and_is_found(home: Path, folder: Path) -> None:
    farm(home, "add", str(folder))
    ran = farm(home, "start", "--drain")
    assert "12 new" in ran.stderr
    hits = ask(home, "search", "apple", "number", "7")
    assert [hit["title"] for hit in hits] == ["Note 7"]
    assert {"doc_id", "source", "uri", "title", "snippet"} <= hits[0].keys()
    shown = ask(home, "documents", "show", hits[0]["doc_id"][:10])
    assert "An apple a day, number 7." in shown["text"]
    assert re.fullmatch(r"\d{4}-.*Z", shown["landed_at"])
    assert len(ask(home, "documents", "list")) == 12
    people = farm(home, "search", "apple", "7").stdout
    assert "Note 7" in people and "An apple a day" in people
    assert "An apple a day" in farm(home, "documents", "show", hits[0]["doc_id"]).stdout
    status = ask(home, "status")
    assert (status["farm"]["state"], status["jobs"]["succeeded"]) == ("stopped", 13)
    assert "it succeeded at its 1st attempt" in farm(home, "jobs", "explain", "3").stdout


def test_a_drain_tells_how_each_run_ended_also_one_asked_for_before(home: Path, folder: Path) -> None:
    farm(home, "add", str(folder))
    farm(home, "run", "notes")
    assert re.fullmatch(r"notes: run 1 succeeded in .*: 12 new\n", farm(home, "start", "--drain").stderr)
    farm(home, "run", "notes")
    said = farm(home, "start", "--drain").stderr
    assert re.fullmatch(r"notes: run 2 succeeded in .*: (12 unchanged|nothing new)\n", said)


def test_a_drain_with_quarantined_jobs_exits_with_3(home: Path, folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    farm(home, "add", str(folder))
    ran = farm(home, "start", "--drain", "--no-progress", check=False)
    assert ran.returncode == 3
    assert ran.stderr.startswith("1 job is in quarantine: `") and "quarantine list`\n" in ran.stderr
    (row,) = ask(home, "quarantine", "list")
    assert row["key"] == "broken.pdf"
    assert farm(home, "quarantine", "discard", str(row["job_id"])).returncode == 0
    ran = farm(home, "start", "--drain", "--no-progress")
    assert (ran.stdout, ran.stderr) == ("", "")


def test_a_purge_asks_first_also_of_a_source_removed_before(home: Path, folder: Path) -> None:
    farm(home, "add", str(folder))
    farm(home, "start", "--drain", "--no-progress")
    for _ in ("in farm.toml", "removed before"):
        refused = farm(home, "sources", "remove", "notes", "--purge", check=False)
        assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
        assert "--yes" in refused.stderr
        assert len(ask(home, "documents", "list")) == 12
        if ask(home, "sources", "list"):
            farm(home, "sources", "remove", "notes")
    assert ask(home, "search", "apple", "--source", "notes")
    assert len(ask(home, "documents", "list", "--source", "notes")) == 12
    farm(home, "sources", "remove", "notes", "--purge", "--yes")
    assert not ask(home, "search", "apple")
    unknown = farm(home, "sources", "remove", "notes", "--purge", "--yes", check=False)
    assert "there is no source 'notes'" in unknown.stderr


def test_the_running_farm_is_asked_changed_and_stopped(
    home: Path, folder: Path, started: subprocess.Popen[str], tmp_path: Path
) -> None:
    until(lambda: ask(home, "status")["jobs"]["succeeded"] >= 13, 60, every_s=0.2)
    status = ask(home, "status")
    assert status["farm"]["state"] == "running"
    assert status["farm"]["pid"] == homes.owner(home)
    assert status["cells"] and status["budget"]["cells"] >= 1
    assert "1 cell" in farm(home, "status").stdout or "cells" in farm(home, "status").stdout

    # A second farm, and a change that needs the lock, are refused in one sentence.
    second = farm(home, "start", check=False)
    assert (second.returncode, second.stderr.count("\n")) == (1, 1)
    assert "already running" in second.stderr

    # A run with --wait ends when the run has.
    (folder / "new.md").write_text("# Fresh\n\nA banana.\n")
    ran = farm(home, "run", "notes", "--wait", "--format", "json")
    assert json.loads(ran.stdout)["state"] in ("succeeded", "running")
    until(lambda: ask(home, "search", "banana"), 30, every_s=0.2)

    # A source added while it runs is read without a restart.
    other = tmp_path / "other"
    other.mkdir()
    (other / "pear.txt").write_text("A pear tree.")
    farm(home, "add", str(other))
    until(lambda: ask(home, "search", "pear"), 30, every_s=0.2)

    # Paused means paused; its documents stay when it is removed, and go when purged.
    farm(home, "sources", "pause", "notes")
    assert "is paused" in farm(home, "run", "notes", check=False).stderr
    farm(home, "sources", "resume", "notes")
    farm(home, "sources", "remove", "notes")
    assert ask(home, "search", "banana")
    assert [row["name"] for row in ask(home, "sources", "list")] == ["other"]
    farm(home, "sources", "remove", "other", "--purge", "--yes")
    until(lambda: not ask(home, "search", "pear"), 30, every_s=0.2)

    assert farm(home, "stop").stderr == "stopped\n"
    assert started.wait(30) == 0
    assert homes.owner(home) is None
    out, err = started.communicate()
    assert out == ""
    assert "notes: run 1 succeeded" in err
    assert "search WORDS" in err
    assert "watching" in err
    assert err.endswith("stopping\nstopped\n")


def test_on_a_terminal_it_shows_bars_and_ctrl_c_stops_it(home: Path, folder: Path) -> None:
    farm(home, "add", str(folder))
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.cli", "--home", str(home), "start"],
        stdin=follower, stdout=follower, stderr=follower, cwd=PROJECT, start_new_session=True,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(follower)
    seen = b""
    try:
        deadline = time.monotonic() + 60
        while b"watching" not in seen and time.monotonic() < deadline:
            seen += os.read(leader, 65536)
        assert "watching…; Ctrl-C stops (again: at once)".encode() in seen
        assert b"12 new" in seen
        process.send_signal(signal.SIGINT)
        try:
            while chunk := os.read(leader, 65536):
                seen += chunk
        except OSError:
            pass  # the terminal is gone with its last process
        assert process.wait(30) == 0
        assert b"stopping\r\n" in seen
        assert seen.endswith(b"stopped\r\n")
        assert b"Traceback" not in seen
    finally:
        process.kill()
        process.wait(30)
        os.close(leader)


def test_it_says_watching_only_where_something_is_watched(home: Path, folder: Path) -> None:
    farm(home, "add", str(folder), "--no-watch")
    process = subprocess.Popen(
        [sys.executable, "-m", "farm.cli", "--home", str(home), "start"],
        stderr=subprocess.PIPE, text=True, cwd=PROJECT,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = [next(process.stderr)]
        while "Ctrl-C" not in said[-1]:  # ends with the process, or the test's own time
            said.append(next(process.stderr))
        assert said[-1] == "next run: notes in 15 min; Ctrl-C stops (again: at once)\n"
    finally:
        process.kill()
        process.communicate(timeout=30)
